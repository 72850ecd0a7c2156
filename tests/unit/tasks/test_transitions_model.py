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
from sqlalchemy import Engine, create_engine, text
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
MOST_DAGS = 2
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
    """Stages with abilities; mostly all of them, so that operators have something to do.

    All of them can be rolled back, or begun anew.
    """
    instead = draw(st.sampled_from([Ability.ROLLBACK, Ability.ANEW]))
    most = Ability.ALL & ~Ability.ROLLBACK | instead
    all_but_one = [most & ~one for one in most]
    abilities = st.just(most) | st.sampled_from([Ability.NONE, *all_but_one])
    agents = st.sampled_from([None, [OWN, OTHERS[0]]])
    numbers = range(draw(st.integers(1, 3)))
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
        self.snapshot: list[Dag] | None = None

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.dispose()

    # --- what can happen ---------------------------------------------------------------------

    @precondition(lambda self: len(self.ids()) < MOST_DAGS)
    @rule(nodes=stages(), lock=st.sampled_from(LOCKS))
    def create(self, nodes, lock) -> None:
        holders = {row.dag_id for row in self.locks() if blocks(row, lock)}
        known = self.ids()
        try:
            dag_id = self.change(
                lambda c: transitions.create(c, plan(*nodes, lock=lock), OWN, self.now())
            )
        except MaintenanceConflictError as conflict:
            named = {conflict.dag_id}
        else:
            named = set()
        assert named <= holders
        assert bool(named) == bool(holders)
        if named:
            assert self.ids() == known
            return
        for node in self.dag(dag_id).nodes:
            for task in node.sub_tasks:
                self.work[task.id] = Work()

    @precondition(lambda self: self.dags(State.READY))
    @rule(data=st.data())
    def claim(self, data) -> None:
        dag = self.dag(data.draw(st.sampled_from([d.id for d in self.dags(State.READY)])))
        first = self.change(lambda c: transitions.claim(c, dag.id, self.now()))
        second = self.change(lambda c: transitions.claim(c, dag.id, self.now()))
        assert first
        assert not second
        self.admit(first)

    @precondition(lambda self: self.runners)
    @rule(data=st.data(), succeeds=st.booleans())
    def finish(self, data, succeeds) -> None:
        self.end(data.draw(st.sampled_from(sorted(self.runners))), succeeds)

    @precondition(lambda self: self.runners or self.dags(State.READY))
    @rule(successes=st.integers(0, 6))
    def work_on_until_one_fails(self, successes) -> None:
        """Many steps in one, or the later parts of a life would be seen too seldom."""
        for succeeds in [*[True] * successes, False]:
            for dag in self.dags(State.READY):
                self.admit(self.change(lambda c, i=dag.id: transitions.claim(c, i, self.now())))
            if self.runners:
                self.end(max(self.runners), succeeds)

    def end(self, sub_task_id: int, succeeds: bool) -> None:
        claim = self.runners.pop(sub_task_id)
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
        claim = self.spent[data.draw(st.integers(0, len(self.spent) - 1))]
        before = self.everything()
        outcome = Outcome(State.SUCCEED, {"late": True}, "late")
        assert not self.change(lambda c: transitions.finish(c, claim, outcome, self.now()))
        assert self.everything() == before

    @precondition(lambda self: self.legal())
    @rule(data=st.data())
    def operate(self, data) -> None:
        dag_id, operator = data.draw(st.sampled_from(self.legal()))
        before = self.dag(dag_id)
        self.change(
            {
                Operator.CANCEL: lambda c: transitions.cancel(c, dag_id, self.now()),
                Operator.RETRY: lambda c: transitions.retry(c, dag_id, self.now()),
                Operator.ROLLBACK: lambda c: transitions.roll_back(c, dag_id),
                Operator.PASS: lambda c: transitions.pass_dag(c, dag_id, self.now()),
            }[operator]
        )
        after = self.dag(dag_id)
        assert (after.state, after.operator) in {
            Operator.CANCEL: {(State.RUNNING, operator), (State.FAILED, operator)},
            Operator.RETRY: {(State.READY, Operator.RUN)},
            Operator.ROLLBACK: {(State.READY, operator)},
            Operator.PASS: {(State.SUCCEED, operator)},
        }[operator]
        anew = operator is Operator.RETRY and before.current.able(Ability.ANEW)
        assert after.stage == (1 if anew else before.stage)
        if anew:
            assert {task.state for task in tasks_in(after)} == {State.PENDING}
            self.passed -= {task.id for task in tasks_in(after)}

    @precondition(lambda self: self.passable())
    @rule(data=st.data())
    def pass_node(self, data) -> None:
        dag = self.dag(data.draw(st.sampled_from(self.passable())))
        self.passed |= {task.id for task in dag.current.sub_tasks}
        self.admit(
            self.change(lambda c: transitions.pass_node(c, dag.id, dag.current.id, self.now()))
        )

    @precondition(lambda self: self.ids())
    @rule()
    def kill_and_recover(self) -> None:
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
            if dag.operator in (Operator.ROLLBACK, Operator.CANCEL) or dag.state is State.FAILED:
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
        self.snapshot = None
        with self.engine.begin() as connection:
            return apply(connection)

    def admit(self, claims: list[Claim]) -> None:
        for claim in claims:
            assert claim.sub_task_id not in self.runners
            self.runners[claim.sub_task_id] = claim

    def every_dag(self) -> list[Dag]:
        if self.snapshot is None:
            with self.engine.begin() as connection:
                ids = records.list_dag_ids(connection, unfinished=False)
                dags = [records.read_dag(connection, i, logs=True) for i in ids]
            self.snapshot = [dag for dag in dags if dag is not None]
            assert [dag.id for dag in self.snapshot] == ids
        return self.snapshot

    def ids(self) -> list[int]:
        return [dag.id for dag in self.every_dag()]

    def dag(self, dag_id: int) -> Dag:
        return next(dag for dag in self.every_dag() if dag.id == dag_id)

    def dags(self, state: State) -> list[Dag]:
        return [dag for dag in self.every_dag() if dag.state is state]

    def legal(self) -> list[tuple[int, Operator]]:
        """The operators that may be applied now."""
        return [
            (dag.id, operator)
            for dag in self.every_dag()
            for operator in Operator
            if operator is not Operator.RUN and allowed(check_operator, dag, operator)
        ]

    def passable(self) -> list[int]:
        """The DAGs whose current node may be passed now."""
        dags = self.every_dag()
        return [d.id for d in dags if allowed(check_node_operator, d, d.current, "PASS")]

    def locks(self):
        with self.engine.begin() as connection:
            return connection.execute(_LOCKS_HELD).all()

    def everything(self):
        return self.every_dag(), self.locks()


def allowed(check, *what) -> bool:
    """Whether a check of legality raises nothing."""
    try:
        check(*what)
    except errors.OBShellError:
        return False
    return True


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


Life.TestCase.settings = settings(max_examples=30, stateful_step_count=40)
test_dags_live_by_the_rules = Life.TestCase
