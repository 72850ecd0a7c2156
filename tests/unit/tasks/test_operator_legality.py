"""Which operator is legal when: every state, operator and ability of a small DAG."""

from __future__ import annotations

from itertools import product

import pytest

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.tasks.model import Ability, Dag, Maintenance, Node, Operator, State, SubTask
from pyobshell.tasks.operators import check_node_operator, check_operator, parse_operator

STAGES = 3
NEEDED = {
    Operator.RETRY: Ability.RETRY,
    Operator.ROLLBACK: Ability.ROLLBACK,
    Operator.CANCEL: Ability.CANCEL,
    Operator.PASS: Ability.PASS,
}
WRONG_STATE = {
    Operator.RETRY: "Task.Dag.Operator.RetryNotFailedDag",
    Operator.ROLLBACK: "Task.Dag.Operator.RollbackNotFailedDag",
    Operator.CANCEL: "Task.Dag.Operator.CancelFinishedDag",
    Operator.PASS: "Task.Dag.Operator.PassNotFailedDag",
}
NOT_ALLOWED = {
    Operator.RETRY: "Task.Dag.Operator.RetryNotAllowed",
    Operator.ROLLBACK: "Task.Dag.Operator.RollbackNotAllowed",
    Operator.CANCEL: "Task.Dag.Operator.CancelNotAllowed",
    Operator.PASS: "Task.Dag.Operator.PassNotAllowed",
}
LEGAL_IN = {
    Operator.RETRY: {"FAILED"},
    Operator.ROLLBACK: {"FAILED"},
    Operator.CANCEL: {"PENDING", "READY", "RUNNING"},
    Operator.PASS: {"FAILED"},
}
# For the stage a DAG stands at, the stages that must allow the operator.
CONCERNED = {
    Operator.RETRY: {1: [1], 2: [2], 3: [3]},
    Operator.ROLLBACK: {1: [1], 2: [1, 2], 3: [1, 2, 3]},
    Operator.CANCEL: {1: [1], 2: [1, 2], 3: [1, 2, 3]},
    Operator.PASS: {1: [1, 2, 3], 2: [2, 3], 3: [3]},
}


def a_node(stage: int, state: State, *abilities: Ability) -> Node:
    """A stage with one sub task for each set of abilities."""
    tasks = tuple(
        SubTask(
            id=10 * stage + n,
            node_id=stage,
            dag_id=1,
            name=f"stage {stage}",
            state=state,
            operator=Operator.RUN,
            agent=Address("10.0.0.1", 2886),
            execute_times=1,
            abilities=one,
            start_time=0,
            end_time=0,
        )
        for n, one in enumerate(abilities)
    )
    return Node(stage, 1, stage, f"stage {stage}", "key", state, Operator.RUN, 0, 0, tasks)


def a_dag(state: State, stage: int, nodes: list[Node]) -> Dag:
    """A DAG that stands at a stage."""
    return Dag(
        id=1,
        name="Task",
        stage=stage,
        max_stage=len(nodes),
        state=state,
        operator=Operator.RUN,
        maintenance=Maintenance(),
        params="{}",
        data={},
        signals=frozenset(),
        start_time=0,
        end_time=0,
        nodes=tuple(nodes),
    )


def refusal(check, *what) -> tuple[str, dict[str, object]] | None:
    """The code and the arguments of the error a check raises; None when it raises none."""
    try:
        check(*what)
    except errors.OBShellError as error:
        return error.code.name, error.arguments
    return None


@pytest.mark.parametrize("operator", list(NEEDED))
@pytest.mark.parametrize("state", list(State))
def test_an_operator_is_legal_in_its_states_if_every_stage_it_concerns_allows_it(state, operator):
    needed = NEEDED[operator]
    for stage, allows in product(range(1, STAGES + 1), product([True, False], repeat=STAGES)):
        # A stage allows an operator by that ability alone, and not by all the others together.
        abilities = [needed if one else ~needed & Ability.ALL for one in allows]
        nodes = [a_node(n, state, one) for n, one in enumerate(abilities, start=1)]
        found = refusal(check_operator, a_dag(state, stage, nodes), operator)

        forbidding = [n for n in CONCERNED[operator][stage] if not allows[n - 1]]
        if state not in LEGAL_IN[operator]:
            assert found == (WRONG_STATE[operator], {"state": state})
        elif forbidding:
            assert found == (NOT_ALLOWED[operator], {"stage": f"stage {forbidding[0]}"})
        else:
            assert found is None


@pytest.mark.parametrize("operator", list(NEEDED))
@pytest.mark.parametrize("state", list(State))
def test_a_parallel_stage_allows_what_all_its_sub_tasks_allow(state, operator):
    needed = NEEDED[operator]
    for allows in product([True, False], repeat=3):
        node = a_node(1, state, *(needed if one else Ability.NONE for one in allows))
        found = refusal(check_operator, a_dag(state, 1, [node]), operator)
        if state not in LEGAL_IN[operator]:
            assert found == (WRONG_STATE[operator], {"state": state})
        elif not all(allows):
            assert found == (NOT_ALLOWED[operator], {"stage": "stage 1"})
        else:
            assert found is None


@pytest.mark.parametrize("dag_state", list(State))
@pytest.mark.parametrize("node_state", list(State))
@pytest.mark.parametrize("allows", [True, False])
def test_a_node_is_passed_only_if_it_and_its_dag_have_failed_and_it_allows_that(
    dag_state, node_state, allows
):
    node = a_node(1, node_state, Ability.PASS if allows else ~Ability.PASS & Ability.ALL)
    found = refusal(check_node_operator, a_dag(dag_state, 1, [node]), node, "PASS")
    if dag_state is not State.FAILED:
        assert found == ("Task.Node.Operator.PassNotFailedDag", {"state": dag_state})
    elif node_state is not State.FAILED:
        assert found == ("Task.Node.Operator.PassNotFailedNode", {"state": node_state})
    elif not allows:
        assert found == ("Task.Node.Operator.PassNotAllowed", {"stage": "stage 1"})
    else:
        assert found is None


@pytest.mark.parametrize("text", ["RUN", "RETRY", "ROLLBACK", "CANCEL", "retry", "", "PASSED"])
def test_a_node_can_be_asked_nothing_but_pass(text):
    node = a_node(1, State.FAILED, Ability.ALL)
    found = refusal(check_node_operator, a_dag(State.FAILED, 1, [node]), node, text)
    assert found == ("Task.Node.Operator.NotSupport", {"operator": text})


@pytest.mark.parametrize("text", ["PASS", "pass", "Pass"])
def test_a_node_is_passed_in_any_case(text):
    node = a_node(1, State.FAILED, Ability.PASS)
    check_node_operator(a_dag(State.FAILED, 1, [node]), node, text)


@pytest.mark.parametrize("operator", list(NEEDED))
def test_operators_are_read_in_any_case(operator):
    for text in (operator.value, operator.value.lower(), operator.value.title()):
        assert parse_operator(text) is operator


@pytest.mark.parametrize("text", ["RUN", "run", "", "RETRY ", "DELETE", "ıgnore"])
def test_what_is_no_operator_to_ask_for_is_refused(text):
    assert refusal(parse_operator, text) == (
        "Task.Dag.Operator.NotSupport",
        {"operator": text},
    )
