"""Tasks as the API describes them, and a home, environment and state that are the test's own."""

from __future__ import annotations

import itertools

import pytest

from pyobshell.wire import DagDetailDTO, ExecuteAgent, NodeDetailDTO, TaskDetailDTO

BEGIN = "2026-11-24T19:00:00.000000001Z"


def at(milliseconds: int) -> str:
    return f"2026-11-24T19:00:{milliseconds // 1000:02}.{milliseconds % 1000:03}456789Z"


@pytest.fixture
def make_dag():
    """Make a task of stages, each a name, a state and the logs of its sub tasks."""
    numbers = itertools.count(1)

    def node(name: str, state: str, *logs: list[str]) -> NodeDetailDTO:
        end = at(12) if state in ("SUCCEED", "FAILED") else BEGIN
        times = {"state": state, "operator": "RUN", "start_time": at(0), "end_time": end}
        tasks = [
            TaskDetailDTO(
                id=f"2{next(numbers)}",
                task_id=1,
                name=name,
                execute_times=1,
                execute_agent=ExecuteAgent(ip="10.0.0.1", port=2886),
                task_logs=lines,
                **times,
            )
            for lines in logs or ([],)
        ]
        return NodeDetailDTO(
            id=f"2{next(numbers)}", node_id=next(numbers), name=name, sub_tasks=tasks, **times
        )

    def make(*stages: tuple[object, ...], state: str = "RUNNING", **more: object) -> DagDetailDTO:
        nodes = [node(*stage) for stage in stages]
        ended = sum(one.state == "SUCCEED" for one in nodes)
        values = {
            "id": "22130706433028869",
            "dag_id": 9,
            "name": "Stop OB",
            "stage": min(ended + 1, len(nodes)),
            "max_stage": len(nodes),
            "maintenance_type": 1,
            "maintenance_key": "",
            "operator": "RUN",
            "start_time": at(0),
            "end_time": at(2000),
        }
        return DagDetailDTO(state=state, nodes=nodes, **{**values, **more})

    return make


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Nothing of the user's own is read or written."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("OBSHELL_BASE_DIR", raising=False)
    monkeypatch.delenv("OB_ROOT_PASSWORD", raising=False)
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def obshell(capsys):
    """Run the command in this process; returns its exit code, stdout and stderr."""
    from pyobshell.cli.main import make_app

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            make_app(words)(list(words), prog_name="obshell")
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run
