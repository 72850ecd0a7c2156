"""DAGs, nodes and sub tasks in OBShell's shapes.

``store`` is whose store they are in: an agent's, or the cluster's own (None).
"""

from __future__ import annotations

from pyobshell.address import Address
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import Dag, LogLine, Node, State, SubTask
from pyobshell.wire import DagDetailDTO, ExecuteAgent, NodeDetailDTO, TaskDetailDTO, TaskLogDTO


def dag_dto(dag: Dag, store: Address | None, *, details: bool) -> DagDetailDTO:
    """A DAG in OBShell's shape."""
    has_data = bool(dag.data) or dag.max_stage > 1
    return DagDetailDTO(
        id=str(GenericId(dag.id, store)),
        dag_id=dag.id,
        name=dag.name,
        stage=dag.stage,
        max_stage=dag.max_stage,
        maintenance_type=int(dag.maintenance.type),
        maintenance_key=dag.maintenance.key,
        state=dag.state,
        operator=dag.operator,
        start_time=dag.start_time,
        end_time=dag.end_time,
        additional_data=dag.data if details and has_data else None,
        nodes=[node_dto(node, store) for node in dag.nodes] if details else None,
    )


def node_dto(node: Node, store: Address | None) -> NodeDetailDTO:
    """A node in OBShell's shape."""
    return NodeDetailDTO(
        id=str(GenericId(node.id, store)),
        node_id=node.id,
        name=node.name,
        state=node.state,
        operator=node.operator,
        start_time=node.start_time,
        end_time=node.end_time,
        sub_tasks=[sub_task_dto(task, store) for task in node.sub_tasks],
    )


def sub_task_dto(task: SubTask, store: Address | None) -> TaskDetailDTO:
    """A sub task in OBShell's shape."""
    begun = task.state not in (State.PENDING, State.READY)
    return TaskDetailDTO(
        id=str(GenericId(task.id, store)),
        task_id=task.id,
        name=task.name,
        state=task.state,
        operator=task.operator,
        start_time=task.start_time,
        end_time=task.end_time,
        execute_times=task.execute_times,
        execute_agent=ExecuteAgent(ip=task.agent.ip, port=task.agent.port),
        task_logs=list(task.logs) if begun else None,
    )


def log_dto(line: LogLine) -> TaskLogDTO:
    """A line of a sub task's log in OBShell's shape."""
    return TaskLogDTO(
        id=line.id,
        sub_task_id=line.sub_task_id,
        execute_times=line.execute_times,
        log_content=line.content,
        create_time=line.create_time,
        update_time=line.create_time,
    )
