"""Tasks in words: how long they took, what they look like in full, why they failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pyobshell.wire import DagDetailDTO, NodeDetailDTO, TaskDetailDTO

ENDED = ("SUCCEED", "FAILED")
_BLOCKED = re.compile(r"(?:\[Agent\.UnderMaintenanceDag\].*?\bDAG|\bforcePassDag) (\d{2,})")
_FLUSHED = re.compile(r"No server was killed; not flushed: (\S+); flushed: (\S+)$")
_TO_MICROSECONDS = re.compile(r"(\.\d{1,6})\d*")


def elapsed_ms(begin: str | int, end: str | int | None = None) -> int:
    """Milliseconds between two timestamps of the API, the later of which may be now."""
    first = moment(begin)
    last = datetime.now(UTC) if end is None else moment(end)
    return max(0, round((last - first).total_seconds() * 1000))


def moment(timestamp: str | int) -> datetime:
    """A timestamp of the API, to be compared with others."""
    return datetime.fromisoformat(_TO_MICROSECONDS.sub(r"\1", str(timestamp)))


def duration(milliseconds: int) -> str:
    """A length of time as a person says it."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02} s"


def counted(number: int, thing: str) -> str:
    """So many of a thing."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def line_of(dag: DagDetailDTO, number: int, node: NodeDetailDTO) -> str:
    """A stage that has ended, in one line."""
    took = duration(elapsed_ms(node.start_time, node.end_time))
    operator = "" if node.operator in ("RUN", dag.operator) else f" by {node.operator}"
    return f"{node.name} [{number}/{dag.max_stage}] {node.state}{operator} {took}"


def failures(dag: DagDetailDTO) -> Iterator[tuple[str, TaskDetailDTO]]:
    """The failed sub tasks, each with the last line of its log."""
    for node in dag.nodes or []:
        for task in node.sub_tasks or []:
            if task.state == "FAILED":
                yield (task.task_logs or ["it left no log"])[-1], task


def blocking_dags(dag: DagDetailDTO) -> list[str]:
    """The earlier tasks that hold locks this one met, or the locks that this one left behind."""
    found = [one for line in _log_lines(dag) for one in _BLOCKED.findall(line)]
    return list(dict.fromkeys(found))


def kept_from_stop(dag: DagDetailDTO) -> tuple[str, str] | None:
    """Whose servers could not be flushed, which kept all from being stopped, and whose could.

    Agents separated by commas, empty if there are none; None if it did not fail for that.
    """
    for line in reversed(_log_lines(dag)):
        found = _FLUSHED.search(line)
        if found is not None:
            return found[1], "" if found[2] == "none" else found[2]
    return None


def _log_lines(dag: DagDetailDTO) -> list[str]:
    return [
        line
        for node in dag.nodes or []
        for task in node.sub_tasks or []
        for line in task.task_logs or []
    ]


def stays_locked(dag: DagDetailDTO) -> bool:
    """Whether a task that has failed keeps its agents, to go on from where it is."""
    return dag.id in blocking_dags(dag)


def lock_advice(dag: DagDetailDTO) -> str:
    """What releases the agents of such a task."""
    return f"its agents stay locked until a start or stop has --force-pass-dag {dag.id}"


def acting_alone(reason: str) -> str:
    """That an agent starts or stops its own server without asking anybody."""
    return f"Emergency mode, as {reason}: this agent acts alone, on its own server, without a lock"


def emergency(dag: DagDetailDTO) -> list[str]:
    """What there is to be known of a task that an agent carried out alone; of others nothing."""
    data = dag.additional_data or {}
    if "emergency" not in data:
        return []
    return [acting_alone(data["emergency"]), *data.get("notes", [])]


def agent_of(task: TaskDetailDTO) -> str:
    """The agent a sub task is for, as text."""
    ip, port = task.execute_agent.ip, task.execute_agent.port
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


# --- in full -------------------------------------------------------------------------------------


def full(dag: DagDetailDTO, *, details: bool) -> Iterator[str]:
    """A task as OBShell's `task show` prints it."""
    names = ("id", "dag_id", "name", "stage", "max_stage", "state", "operator")
    yield from _fields(dag, (*names, "start_time", "end_time"))
    if not details:
        return
    yield "nodes:"
    for node in dag.nodes or []:
        yield from _node(node)


def _node(node: NodeDetailDTO) -> Iterator[str]:
    names = ("id", "name", "state", "operator", "start_time", "end_time")
    yield from _item(_fields(node, names), "")
    yield "  subtasks:"
    for task in node.sub_tasks or []:
        lines = list(_fields(task, ("id", "name", "state", "operator", "execute_times")))
        lines.append(f"agent: {agent_of(task)}")
        lines += _fields(task, ("start_time", "end_time"))
        if task.task_logs:
            lines += ["logs:", *(f"- {_scalar(log)}" for log in task.task_logs)]
        yield from _item(lines, "  ")


def _item(lines: Any, indent: str) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"{indent}{'- ' if number == 0 else '  '}{line}"


def _fields(record: Any, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        yield f"{name}: {_scalar(getattr(record, name))}"


def _scalar(value: Any) -> str:
    """A value as YAML reads it; what YAML would take for something else is quoted."""
    text = str(value)
    plain = re.fullmatch(r"[A-Za-z0-9(/][^\n#]*[^\s:]|[A-Za-z0-9]", text)
    if plain and ": " not in text and not (isinstance(value, str) and text.isdigit()):
        return text
    return "'" + text.replace("'", "''").replace("\n", " ") + "'"
