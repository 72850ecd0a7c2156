"""Whatever is done to DAGs, in whatever order, and wherever the agent is killed: what holds always.

The machine plays the engine: it has a runner for each claim that was admitted, ends runners at
will, loses all of them at once (the agent is killed), and applies operators wherever legal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import StaticPool

from pyobshell import errors
from pyobshell.store.tables import metadata
from pyobshell.tasks import records, transitions
from pyobshell.tasks.locks import MaintenanceConflictError
from pyobshell.tasks.model import (
    Ability,
    Dag,
    Maintenance,
    MaintenanceType,
    Node,
    NodePlan,
    Operator,
    State,
    SubTask,
)
from pyobshell.tasks.operators import check_node_operator, check_operator
from pyobshell.tasks.transitions import Claim, Outcome

from support.staging import OTHERS, OWN, acts, plan

LOCKS = [
    Maintenance(),
    Maintenance(MaintenanceType.GLOBAL),
    Maintenance(MaintenanceType.TENANT, "one"),
    Maintenance(MaintenanceType.TENANT, "two"),
]
_LOCKS_HELD = text("SELECT kind, lock_key, dag_id FROM maintenance")


@dataclass
class Work:
    """What one sub task has really done, as far as its runners came."""

    done: bool = False
    runs: list[str] = field(default_factory=list)


def in_memory() -> Engine:
    """A database of its own, gone with its engine."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    return engine


@st.composite
def stages(draw):
    """Stages with abilities; ALL is the likeliest, so that operators have something to do."""
    abilities = st.sampled_from(
        [Ability.ALL, Ability.ALL, Ability.NONE, *Ability.ALL, *(~a & Ability.ALL for a in Ability)]
    )
    agents = st.sampled_from([None, [OWN], [OWN, OTHERS[0]], [OWN, *OTHERS]])
    numbers = range(draw(st.integers(1, 4)))
    return [NodePlan(acts(f"stage {n}", abilities=draw(abilities)), draw(agents)) for n in numbers]


class Life(RuleBasedStateMachine):
    """DAGs from their creation on, under everything that can happen to them."""

    @initialize()
    def begin(self) -> None:
        self.engine = in_memory()
        self.clock = count(1)
        self.runners: dict[int, Claim] = {}
        self.spent: list[Claim] = []
        self.work: dict[int, Work] = {}
        self.passed: set[int] = set()

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.dispose()

    # --- what can happen ---------------------------------------------------------------------

    @rule(nodes=stages(), lock=st.sampled_from(LOCKS))
    def create(self, nodes, lock) -> None:
        holders = {row.dag_id for row in self.locks() if blocks(row, lock)}
        known = self.ids()
        try:
            with self.engine.begin() as connection:
                dag_id = transitions.create(connection, plan(*nodes, lock=lock), OWN, self.now())
        except MaintenanceConflictError as conflict:
            assert conflict.dag_id in holders
            assert self.ids() == known
            return
        assert not holders
        for node in self.dag(dag_id).nodes:
            for task in node.sub_tasks:
                self.work[task.id] = Work()

    @precondition(lambda self: self.dags(State.READY))
    @rule(data=st.data())
    def claim(self, data) -> None:
        dag = data.draw(st.sampled_from(self.dags(State.READY)))
        first = self.change(lambda c: transitions.claim(c, dag.id, self.now()))
        second = self.change(lambda c: transitions.claim(c, dag.id, self.now()))
        assert first
        assert not second
        self.admit(first)

    @precondition(lambda self: self.runners)
    @rule(data=st.data(), succeeds=st.sampled_from([True, True, True, False]))
    def finish(self, data, succeeds) -> None:
        claim = self.runners.pop(data.draw(st.sampled_from(sorted(self.runners))))
        self.spent.append(claim)
        work = self.work[claim.sub_task_id]
        if claim.operator in (Operator.RETRY, Operator.ROLLBACK):
            work.done = False  # the undoing comes first, and is done in part at least
        if succeeds and claim.operator is not Operator.ROLLBACK:
            work.done = True
        outcome = Outcome(
            State.SUCCEED if succeeds else State.FAILED, {}, None if succeeds else "it failed"
        )
        self.admit(self.change(lambda c: transitions.finish(c, claim, outcome, self.now())))

    @precondition(lambda self: self.spent)
    @rule(data=st.data())
    def finish_once_more(self, data) -> None:
        claim = data.draw(st.sampled_from(self.spent))
        before = self.everything()
        outcome = Outcome(State.SUCCEED, {"late": True}, "late")
        assert not self.change(lambda c: transitions.finish(c, claim, outcome, self.now()))
        assert self.everything() == before

    @precondition(lambda self: self.ids())
    @rule(data=st.data(), operator=st.sampled_from([o for o in Operator if o is not Operator.RUN]))
    def operate(self, data, operator) -> None:
        dag = self.dag(data.draw(st.sampled_from(self.ids())))
        try:
            check_operator(dag, operator)
        except errors.OBShellError:
            return
        apply = {
            Operator.CANCEL: lambda c: transitions.cancel(c, dag.id, self.now()),
            Operator.RETRY: lambda c: transitions.retry(c, dag.id),
            Operator.ROLLBACK: lambda c: transitions.roll_back(c, dag.id),
            Operator.PASS: lambda c: transitions.pass_dag(c, dag.id, self.now()),
        }[operator]
        self.change(apply)
        after = self.dag(dag.id)
        assert (after.state, after.operator) in {
            Operator.CANCEL: {(State.RUNNING, operator), (State.FAILED, operator)},
            Operator.RETRY: {(State.READY, Operator.RUN)},
            Operator.ROLLBACK: {(State.READY, operator)},
            Operator.PASS: {(State.SUCCEED, operator)},
        }[operator]

    @precondition(lambda self: self.dags(State.FAILED))
    @rule(data=st.data())
    def pass_node(self, data) -> None:
        dag = data.draw(st.sampled_from(self.dags(State.FAILED)))
        node = dag.current
        try:
            check_node_operator(dag, node, "PASS")
        except errors.OBShellError:
            return
        self.passed |= {task.id for task in node.sub_tasks}
        self.admit(
            self.change(lambda c: transitions.pass_node(c, dag.id, node.id, self.now()))
        )

    @precondition(lambda self: self.ids())
    @rule()
    def kill_and_recover(self) -> None:
        self.spent += self.runners.values()
        lost, self.runners = self.runners, {}
        running = {task.id: task for dag in self.every_dag() for task in tasks_in(dag)}
        for dag_id in self.ids():
            claims = self.change(lambda c, i=dag_id: transitions.recover(c, i, self.now()))
            for claim in claims:
                before = lost.get(claim.sub_task_id)
                assert claim.continuing == (before is not None)
                if before is not None:
                    assert claim.execute_times == before.execute_times
                    assert claim.operator is before.operator
                    assert Ability.CONTINUE in running[claim.sub_task_id].abilities
            self.admit(claims)
        for dag in self.every_dag():
            assert dag.state is not State.READY
            if dag.operator is Operator.CANCEL:
                assert dag.state is State.FAILED

    # --- what always holds --------------------------------------------------------------------

    @invariant()
    def a_lock_belongs_to_a_dag_that_has_not_succeeded_and_every_such_dag_has_its_lock(self):
        held = {(row.kind, row.lock_key): row.dag_id for row in self.locks()}
        owed = {
            (dag.maintenance.type, dag.maintenance.key): dag.id
            for dag in self.every_dag()
            if dag.maintenance.type is not MaintenanceType.NONE and dag.state is not State.SUCCEED
        }
        assert held == owed
        assert len(self.locks()) == len(held)

    @invariant()
    def each_running_sub_task_has_its_one_runner_and_each_running_dag_has_such_a_sub_task(self):
        running = {
            task.id: task.execute_times
            for dag in self.every_dag()
            for task in tasks_in(dag)
            if task.state is State.RUNNING
        }
        assert running == {i: claim.execute_times for i, claim in self.runners.items()}
        for dag in self.every_dag():
            has_runner = any(task.id in self.runners for task in tasks_in(dag))
            assert (dag.state is State.RUNNING) == has_runner
            assert all(task.id not in self.runners for task in tasks_in(dag, but_current=True))

    @invariant()
    def the_stage_is_one_of_the_dag(self):
        for dag in self.every_dag():
            assert 1 <= dag.stage <= dag.max_stage == len(dag.nodes)

    @invariant()
    def a_node_has_the_state_of_its_sub_tasks(self):
        for dag in self.every_dag():
            for node in dag.nodes:
                states = {task.state for task in node.sub_tasks}
                assert {
                    State.PENDING: states <= {State.PENDING, State.SUCCEED},
                    State.RUNNING: State.RUNNING in states and State.PENDING not in states,
                    State.FAILED: State.FAILED in states
                    and states <= {State.FAILED, State.SUCCEED},
                    State.SUCCEED: states == {State.SUCCEED},
                }[node.state]

    @invariant()
    def a_failed_dag_shows_where_and_every_failed_sub_task_says_why(self):
        for dag in self.every_dag():
            if dag.state is State.FAILED:
                assert dag.current.state is State.FAILED
            for task in tasks_in(dag):
                assert task.state is not State.FAILED or task.logs

    @invariant()
    def going_forward_what_lies_behind_is_done_and_what_lies_ahead_is_not_begun(self):
        for dag in self.every_dag():
            if dag.operator is Operator.ROLLBACK or dag.state is State.FAILED:
                continue
            for node in dag.nodes:
                if node.stage < dag.stage:
                    assert node.state is State.SUCCEED
                elif node.stage > dag.stage and dag.operator is not Operator.PASS:
                    assert node.state is State.PENDING

    @invariant()
    def a_dag_that_succeeded_did_all_its_work_or_undid_it(self):
        for dag in self.every_dag():
            if dag.state is not State.SUCCEED or dag.operator is Operator.PASS:
                continue
            undone = dag.operator is Operator.ROLLBACK
            assert not undone or dag.stage == 1
            for task in tasks_in(dag):
                assert self.work[task.id].done == (not undone) or task.id in self.passed

    # --- reading ---------------------------------------------------------------------------------

    def now(self) -> int:
        return next(self.clock)

    def change(self, apply):
        with self.engine.begin() as connection:
            return apply(connection)

    def admit(self, claims: list[Claim]) -> None:
        for claim in claims:
            assert claim.sub_task_id not in self.runners
            self.runners[claim.sub_task_id] = claim

    def ids(self) -> list[int]:
        return self.change(lambda c: records.list_dag_ids(c, unfinished=False))

    def dag(self, dag_id: int) -> Dag:
        found = self.change(lambda c: records.read_dag(c, dag_id, logs=True))
        assert found is not None
        return found

    def every_dag(self) -> list[Dag]:
        return [self.dag(dag_id) for dag_id in self.ids()]

    def dags(self, state: State) -> list[Dag]:
        return [dag for dag in self.every_dag() if dag.state is state]

    def locks(self):
        return self.change(lambda c: c.execute(_LOCKS_HELD).all())

    def everything(self):
        return self.every_dag(), self.locks()


def blocks(row, wanted: Maintenance) -> bool:
    """Whether a lock that is held stands in the way of the one wanted."""
    if wanted.type is MaintenanceType.NONE:
        return False
    either_is_global = MaintenanceType.GLOBAL in (row.kind, wanted.type)
    return either_is_global or row.lock_key == wanted.key


def tasks_in(dag: Dag, *, but_current: bool = False) -> list[SubTask]:
    """The sub tasks of a DAG, or of all its nodes but the one it stands at."""
    nodes: list[Node] = [n for n in dag.nodes if not but_current or n.stage != dag.stage]
    return [task for node in nodes for task in node.sub_tasks]


def connection_of(machine: Life) -> Connection:
    """An open connection of a machine's database."""
    return machine.engine.connect()


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
test_dags_live_by_the_rules = Life.TestCase
