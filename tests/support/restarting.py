"""Rolling restarts, asked for and watched through an agent's local socket."""

from __future__ import annotations

from typing import Any

import httpx

from support.observer_clusters import Member
from support.standin_clusters import eventually


class Restart:
    """A rolling restart that was begun at an agent."""

    def __init__(self, asked: Member) -> None:
        self._socket = str(asked.base_dir / "run/obshell.sock")
        self.id = self._ask("POST", "/ob/restart", {"rolling": True})["id"]

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        transport = httpx.HTTPTransport(uds=self._socket, verify=False)
        with httpx.Client(transport=transport, timeout=30) as client:
            answer = client.request(method, f"http://localhost/api/v1{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json().get("data")

    def dag(self) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("GET", f"/task/dag/{self.id}?show_details=true&hold_ms=0")
        return found

    def stage(self) -> str:
        """The stage it is in."""
        dag = self.dag()
        return str(dag["nodes"][dag["stage"] - 1]["name"])

    def ended(self) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            dag = self.dag()
            return dag if dag["state"] in ("SUCCEED", "FAILED") else None

        found: dict[str, Any] = eventually(look, 90)
        return found

    def operate(self, operator: str) -> None:
        self._ask("POST", f"/task/dag/{self.id}", {"operator": operator})


def last_logs(dag: dict[str, Any]) -> list[str]:
    """What the stage logged that the task is in."""
    tasks = dag["nodes"][dag["stage"] - 1]["sub_tasks"]
    return [line for task in tasks for line in task["task_logs"] or []]
