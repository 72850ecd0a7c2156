"""Every state change of a DAG, each a function of one transaction.

                     ┌────────── operator RETRY, ROLLBACK, node PASS ──────────┐
                     ▼                                                         │
    create ──▶ READY ──claim──▶ RUNNING ──a sub task fails, or CANCEL──▶ FAILED ──PASS──▶ SUCCEED
                                   └──────────the last stage ends──────────────────────▶ SUCCEED

Ending one stage and beginning the next is a single transaction, so no crash can fall between them.
What a transaction admits to run is returned as claims; nobody runs a sub task without one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from pyobshell.address import Address
from pyobshell.tasks import locks, sql
from pyobshell.tasks.model import Ability, DagPlan, Operator, State
from pyobshell.tasks.stage import merge_data

EPOCH = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one sub task once.

    ``parallel`` says that its agent was named when the DAG was made; ``ordered_at`` when the DAG
    was recorded, or its RETRY asked for, in nanoseconds since the epoch.
    """

    sub_task_id: int
    execute_times: int
    dag_id: int
    node_id: int
    stage_key: str
    operator: Operator
    agent: Address
    params: str
    data: dict[str, Any]
    ordered_at: int
    continuing: bool = False
    parallel: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a sub task ended, what it adds to the DAG's data, and its last log line if it failed."""

    state: State
    data: dict[str, Any]
    log: str | None = None


def create(connection: Connection, plan: DagPlan, own: Address, now: int) -> int:
    """Record a DAG in state READY and take its lock; raises MaintenanceConflictError."""
    dag = {
        "name": plan.name,
        "max_stage": len(plan.nodes),
        "maintenance_type": int(plan.maintenance.type),
        "maintenance_key": plan.maintenance.key,
        "params": plan.params.model_dump_json(),
        "data": json.dumps(plan.data),
        "now": now,
    }
    dag_id = int(connection.execute(sql.INSERT_DAG, dag).lastrowid)
    locks.take(connection, plan.maintenance, dag_id, now)
    common = {"dag_id": dag_id, "now": now}
    nodes = [
        {
            **common,
            "stage": number,
            "stage_key": node.stage.key,
            "name": node.name,
            "parallel": int(node.agents is not None),
        }
        for number, node in enumerate(plan.nodes, start=1)
    ]
    connection.execute(sql.INSERT_NODE, nodes)
    node_ids = connection.execute(sql.NODE_IDS, {"dag_id": dag_id}).scalars()
    sub_tasks = [
        {
            **common,
            "node_id": node_id,
            "name": node.name,
            "abilities": node.stage.abilities.value,
            **agent.wire,
        }
        for node, node_id in zip(plan.nodes, node_ids, strict=True)
        for agent in ([own] if node.agents is None else node.agents)
    ]
    connection.execute(sql.INSERT_SUB_TASK, sub_tasks)
    return dag_id


def claim(connection: Connection, dag_id: int, now: int) -> list[Claim]:
    """Take a READY DAG into work; of several claimants exactly one gets it."""
    if not connection.execute(sql.CLAIM_DAG, {"id": dag_id, "now": now}).rowcount:
        return []
    return _enter_stage(connection, _dag(connection, dag_id), now)


def finish(connection: Connection, claim: Claim, outcome: Outcome, now: int) -> list[Claim]:
    """End a sub task and all that ends with it; returns what may run next.

    One that succeeds although its DAG is being cancelled counts as cancelled: RETRY runs it again.
    """
    dag = _dag(connection, claim.dag_id)
    if dag.operator == Operator.CANCEL and outcome.state is State.SUCCEED:
        outcome = Outcome(State.FAILED, outcome.data, "Cancelled, just when it was done")
    ended = {
        "id": claim.sub_task_id,
        "execute_times": claim.execute_times,
        "state": outcome.state,
        "data": json.dumps(outcome.data),
        "now": now,
    }
    if not connection.execute(sql.END_SUB_TASK, ended).rowcount:
        return []
    if outcome.log is not None:
        add_log(connection, claim.sub_task_id, claim.execute_times, outcome.log, now)
    tally = connection.execute(sql.TALLY_NODE, {"node_id": claim.node_id}).one()
    if tally.running:
        return []
    if tally.published:
        _merge_data(connection, dag, claim.node_id)
    return _leave_stage(connection, dag, claim.node_id, bool(tally.failed), now)


def give_signal(connection: Connection, dag_id: int, name: str) -> None:
    """Record a signal given to a DAG."""
    signals = sorted({*json.loads(_dag(connection, dag_id).signals), name})
    connection.execute(sql.SET_SIGNALS, {"id": dag_id, "signals": json.dumps(signals)})


def add_log(
    connection: Connection, sub_task_id: int, execute_times: int, content: str, now: int
) -> None:
    """Add a line to the log of a sub task."""
    line = {"id": sub_task_id, "execute_times": execute_times, "content": content, "now": now}
    connection.execute(sql.ADD_LOG, line)


def set_agent(connection: Connection, sub_task_id: int, agent: Address) -> None:
    """Record which agent executes a sub task for which none was named."""
    connection.execute(sql.SET_AGENT, {"id": sub_task_id, **agent.wire})


def recover(connection: Connection, dag_id: int, now: int) -> list[Claim]:
    """Take a RUNNING DAG, whose agent was killed, into work again.

    What may be continued is claimed again under the same execution number; what may not, and what
    was being cancelled, ends FAILED with a log line that says so.
    """
    dag = _dag(connection, dag_id)
    if dag.state != State.RUNNING:
        return claim(connection, dag_id, now)
    node = _node_at(connection, dag_id, dag.stage)
    claims: list[Claim] = []
    for task in _sub_tasks(connection, node.id, State.RUNNING):
        one = _claim(dag, node, task, continuing=True)
        cancelled = dag.operator == Operator.CANCEL
        if cancelled or Ability.CONTINUE not in Ability(task.abilities):
            log = "Cancelled" if cancelled else "Interrupted: the agent was stopped in this stage"
            claims += finish(connection, one, Outcome(State.FAILED, {}, log), now)
        else:
            claims.append(one)
    return claims


# --- operators -----------------------------------------------------------------------------------


def cancel(connection: Connection, dag_id: int, now: int) -> None:
    """Record that a living DAG shall end; a READY one ends here and now."""
    dag = _dag(connection, dag_id)
    node = _node_at(connection, dag_id, dag.stage)
    connection.execute(sql.CANCEL_DAG, {"id": dag_id})
    connection.execute(sql.CANCEL_NODE, {"id": node.id})
    connection.execute(sql.CANCEL_SUB_TASKS, {"node_id": node.id})
    if dag.state == State.READY:
        for task in _sub_tasks(connection, node.id, State.PENDING):
            add_log(connection, task.id, task.execute_times, "Cancelled before it began", now)
        connection.execute(sql.FAIL_PENDING_SUB_TASKS, {"node_id": node.id, "now": now})
        _leave_stage(connection, dag, node.id, True, now)


def retry(connection: Connection, dag_id: int, now: int) -> None:
    """Make a FAILED DAG READY at its stage; what succeeded there is not run again.

    One whose stage says ANEW is READY at its first stage, and knows nothing of what was published.
    """
    node = _node_at(connection, dag_id, _dag(connection, dag_id).stage)
    connection.execute(sql.RETRY_DAG, {"id": dag_id, "now": EPOCH, "ordered_at": now})
    failed = _sub_tasks(connection, node.id, State.FAILED)
    if any(Ability.ANEW in Ability(task.abilities) for task in failed):
        at = {"dag_id": dag_id, "stage": node.stage, "now": EPOCH}
        for statement in (sql.REPEAT_DAG, sql.REPEAT_NODES, sql.REPEAT_SUB_TASKS):
            connection.execute(statement, at)
    else:
        connection.execute(sql.RETRY_NODE, {"id": node.id, "now": EPOCH})
        connection.execute(sql.RETRY_FAILED_SUB_TASKS, {"node_id": node.id, "now": EPOCH})
    _reset_undone(connection, dag_id, node.stage)


def roll_back(connection: Connection, dag_id: int) -> None:
    """Make a FAILED DAG READY to be undone from its stage down to the first."""
    connection.execute(sql.ROLL_BACK_DAG, {"id": dag_id})


def pass_dag(connection: Connection, dag_id: int, now: int) -> None:
    """Declare a FAILED DAG done and free its lock."""
    stage = _dag(connection, dag_id).stage
    at = {"dag_id": dag_id, "stage": stage, "now": now}
    connection.execute(sql.PASS_SUB_TASKS, at)
    connection.execute(sql.PASS_NODES, at)
    connection.execute(sql.PASS_DAG, {"id": dag_id, "now": now})
    locks.release(connection, dag_id)


def pass_node(connection: Connection, dag_id: int, node_id: int, now: int) -> list[Claim]:
    """Declare a FAILED node done and go on with the next stage."""
    connection.execute(sql.PASS_SUB_TASKS_OF_NODE, {"node_id": node_id, "now": now})
    connection.execute(sql.PASS_NODE, {"id": node_id, "now": now})
    connection.execute(sql.RESUME_DAG, {"id": dag_id})
    dag = _dag(connection, dag_id)
    _reset_undone(connection, dag_id, dag.stage + 1)
    return _next_stage(connection, dag, now)


# --- inner steps ---------------------------------------------------------------------------------


def _enter_stage(connection: Connection, dag: _Head, now: int) -> list[Claim]:
    """Set the node at the DAG's stage RUNNING, and of its sub tasks those that have work to do."""
    node = _node_at(connection, dag.id, dag.stage)
    undoing = dag.operator == Operator.ROLLBACK
    begin_node, begin_sub_tasks = (
        (sql.UNDO_NODE, sql.UNDO_SUB_TASKS) if undoing else (sql.BEGIN_NODE, sql.BEGIN_SUB_TASKS)
    )
    connection.execute(begin_node, {"id": node.id, "now": now})
    connection.execute(begin_sub_tasks, {"node_id": node.id, "now": now})
    running = _sub_tasks(connection, node.id, State.RUNNING)
    return [_claim(dag, node, task) for task in running]


def _leave_stage(
    connection: Connection, dag: _Head, node_id: int, failed: bool, now: int
) -> list[Claim]:
    """End a node whose sub tasks have all ended, and with it the DAG or this stage of it."""
    state = State.FAILED if failed else State.SUCCEED
    connection.execute(sql.END_NODE, {"id": node_id, "state": state, "now": now})
    if failed:
        connection.execute(sql.END_DAG, {"id": dag.id, "state": State.FAILED, "now": now})
        return []
    return _next_stage(connection, dag, now)


def _next_stage(connection: Connection, dag: _Head, now: int) -> list[Claim]:
    step = -1 if dag.operator == Operator.ROLLBACK else 1
    following = dag.stage + step
    if not 1 <= following <= dag.max_stage:
        connection.execute(sql.END_DAG, {"id": dag.id, "state": State.SUCCEED, "now": now})
        locks.release(connection, dag.id)
        return []
    connection.execute(sql.SET_STAGE, {"id": dag.id, "stage": following})
    dag.stage = following
    return _enter_stage(connection, dag, now)


def _reset_undone(connection: Connection, dag_id: int, stage: int) -> None:
    """Have done again, from a stage on, what a rollback undid before it failed."""
    at = {"dag_id": dag_id, "stage": stage, "now": EPOCH}
    connection.execute(sql.RESET_UNDONE_SUB_TASKS, at)
    connection.execute(sql.RESET_UNDONE_NODES, at)


def _merge_data(connection: Connection, dag: _Head, node_id: int) -> None:
    """Merge what sub tasks published into the data of their DAG."""
    additions = connection.execute(sql.PUBLISHED_DATA, {"node_id": node_id}).scalars().all()
    merged: dict[str, Any] = json.loads(dag.data)
    for addition in additions:
        merge_data(merged, json.loads(addition))
    dag.data = json.dumps(merged)
    connection.execute(sql.SET_DATA, {"id": dag.id, "data": dag.data})
    connection.execute(sql.FORGET_PUBLISHED_DATA, {"node_id": node_id})


def _claim(dag: _Head, node: Row[Any], task: Row[Any], *, continuing: bool = False) -> Claim:
    return Claim(
        sub_task_id=task.id,
        execute_times=task.execute_times,
        dag_id=dag.id,
        node_id=node.id,
        stage_key=node.stage_key,
        operator=Operator(task.operator),
        agent=Address(task.agent_ip, task.agent_port),
        params=dag.params,
        data=json.loads(dag.data),
        ordered_at=dag.ordered_at,
        continuing=continuing,
        parallel=bool(node.parallel),
    )


@dataclass(slots=True)
class _Head:
    """What a transition must know of its DAG, kept in step with what it changes."""

    id: int
    stage: int
    max_stage: int
    state: str
    operator: str
    params: str
    data: str
    signals: str
    ordered_at: int


def _dag(connection: Connection, dag_id: int) -> _Head:
    return _Head(*connection.execute(sql.DAG_HEAD, {"id": dag_id}).one())


def _node_at(connection: Connection, dag_id: int, stage: int) -> Row[Any]:
    return connection.execute(sql.NODE_AT, {"dag_id": dag_id, "stage": stage}).one()


def _sub_tasks(connection: Connection, node_id: int, state: State) -> Sequence[Row[Any]]:
    return connection.execute(sql.SUB_TASKS_IN, {"node_id": node_id, "state": state}).all()
