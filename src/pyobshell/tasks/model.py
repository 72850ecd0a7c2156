"""The words of the task engine: states, operators, abilities, and the records of DAGs.

A DAG is a chain of nodes (stages), numbered from 1; a node has one sub task, or one for each agent
concerned. Times are nanoseconds since the Unix epoch.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Flag, IntEnum, StrEnum, auto
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from pyobshell.address import Address

if TYPE_CHECKING:
    from pyobshell.tasks.stage import Stage


class State(StrEnum):
    """Where a DAG, node or sub task stands."""

    PENDING = "PENDING"  # not reached yet
    READY = "READY"  # waits to be claimed by a runner
    RUNNING = "RUNNING"
    FAILED = "FAILED"
    SUCCEED = "SUCCEED"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens without an operator."""
        return self in (State.FAILED, State.SUCCEED)


class Operator(StrEnum):
    """What was last asked of a DAG, node or sub task."""

    RUN = "RUN"
    RETRY = "RETRY"
    ROLLBACK = "ROLLBACK"
    CANCEL = "CANCEL"
    PASS = "PASS"  # noqa: S105 (no password)


class Ability(Flag):
    """What an operator, or a restart of the agent, may do with a stage."""

    NONE = 0
    CANCEL = auto()  # may be ended before its time
    CONTINUE = auto()  # its body may run again after the agent was killed in it
    PASS = auto()  # may be declared done
    RETRY = auto()
    ROLLBACK = auto()
    ANEW = auto()  # RETRY begins the whole DAG again: what its stages took is let go if it fails
    BOTH_WAYS = CANCEL | CONTINUE | RETRY | ROLLBACK
    ALL = CANCEL | CONTINUE | PASS | RETRY | ROLLBACK


class MaintenanceType(IntEnum):
    """What a DAG locks while it lives; the numbers are OBShell's."""

    NOT_BOOTSTRAPPED = 0
    NONE = 1
    GLOBAL = 2
    TENANT = 3
    OBPROXY = 4


@dataclass(frozen=True, slots=True)
class Maintenance:
    """The lock that a DAG takes when it is created."""

    type: MaintenanceType = MaintenanceType.NONE
    key: str = ""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One stage of a DAG to be: what runs, and for which agents (none: one sub task here).

    ``title`` is what users see of it; the stage's own name unless given.
    """

    stage: Stage[Any, Any]
    agents: Sequence[Address] | None = None
    title: str = ""

    @property
    def name(self) -> str:
        """The name that is recorded."""
        return self.title or self.stage.name


@dataclass(frozen=True, slots=True)
class DagPlan:
    """A DAG to be: its name, stages in order, their common parameters, and its lock.

    One that RETRY begins anew cannot be rolled back: what was done before is not known any more.
    Raises ValueError if its stages allow both.
    """

    name: str
    nodes: Sequence[NodePlan]
    params: BaseModel
    maintenance: Maintenance = Maintenance()
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        both = Ability.ANEW | Ability.ROLLBACK
        allowed = (node.stage.abilities for node in self.nodes)
        if both in functools.reduce(operator.or_, allowed, Ability.NONE):
            raise ValueError(f"{self.name} can be begun anew and rolled back")


@dataclass(frozen=True, slots=True)
class SubTask:
    """One execution of a stage for one agent, as recorded."""

    id: int
    node_id: int
    dag_id: int
    name: str
    state: State
    operator: Operator
    agent: Address
    execute_times: int
    abilities: Ability
    start_time: int
    end_time: int
    logs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a sub task logged in one of its executions (counted from 1)."""

    id: int
    sub_task_id: int
    execute_times: int
    content: str
    create_time: int


@dataclass(frozen=True, slots=True)
class Node:
    """One stage of a DAG, as recorded."""

    id: int
    dag_id: int
    stage: int
    name: str
    stage_key: str
    state: State
    operator: Operator
    start_time: int
    end_time: int
    sub_tasks: tuple[SubTask, ...] = ()

    @property
    def lines(self) -> list[str]:
        """What its sub tasks logged, each line with the stage before it."""
        return [f"[{self.name}] {line}" for task in self.sub_tasks for line in task.logs]

    def able(self, ability: Ability) -> bool:
        """Whether all its sub tasks have an ability."""
        return all(ability in task.abilities for task in self.sub_tasks)


@dataclass(frozen=True, slots=True)
class Dag:
    """A DAG, as recorded; ``nodes`` is empty unless details were read."""

    id: int
    name: str
    stage: int
    max_stage: int
    state: State
    operator: Operator
    maintenance: Maintenance
    params: str
    data: dict[str, Any]
    signals: frozenset[str]
    start_time: int
    end_time: int
    nodes: tuple[Node, ...] = ()

    @property
    def current(self) -> Node:
        """The node at the current stage; needs details."""
        return self.nodes[max(self.stage, 1) - 1]

    @property
    def finished(self) -> bool:
        """Whether it needs nobody any more: succeeded, or failed without holding a lock."""
        return self.state is State.SUCCEED or (
            self.state is State.FAILED and self.maintenance.type is MaintenanceType.NONE
        )
