"""Tasks, as they are shown."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from pyobshell.wire.envelope import Contents, Timestamp, Unreached


class ExecuteAgent(BaseModel):
    """The agent a sub task is for."""

    ip: str
    port: int


class TaskDetailDTO(BaseModel):
    """A sub task; ``task_logs`` is null before it has run."""

    id: str
    task_id: int
    name: str
    state: str
    operator: str
    start_time: Timestamp
    end_time: Timestamp
    additional_data: dict[str, Any] | None = None
    execute_times: int
    execute_agent: ExecuteAgent
    task_logs: list[str] | None = None


class TaskLogDTO(BaseModel):
    """A line of a sub task's log, from its execution number ``execute_times``.

    ``is_sync`` is always true: a line is where it belongs as soon as it is there at all.
    """

    id: int
    sub_task_id: int
    execute_times: int
    log_content: str
    is_sync: bool = True
    create_time: Timestamp
    update_time: Timestamp


class NodeDetailDTO(BaseModel):
    """A stage of a DAG."""

    id: str
    node_id: int
    name: str
    state: str
    operator: str
    start_time: Timestamp
    end_time: Timestamp
    additional_data: dict[str, Any] | None = None
    sub_tasks: list[TaskDetailDTO] | None = None


class DagDetailDTO(BaseModel):
    """A DAG; ``nodes`` and ``additional_data`` are null unless details were asked for."""

    id: str
    dag_id: int
    name: str
    stage: int
    max_stage: int
    maintenance_type: int
    maintenance_key: str
    state: str
    operator: str
    start_time: Timestamp
    end_time: Timestamp
    additional_data: dict[str, Any] | None = None
    nodes: list[NodeDetailDTO] | None = None


class DagsOfAgents(Contents[DagDetailDTO]):
    """DAGs of several agents, without those of the agents that are ``unreachable``."""

    unreachable: Unreached = Field(default_factory=list)
