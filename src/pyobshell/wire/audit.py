"""Who did what, as it is shown."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from pyobshell.wire.envelope import Contents, Timestamp, UnreachableAgent


class AuditRecord(BaseModel):
    """A request for a change; ``status`` is null if it was never answered.

    ``who`` is root@sys or, on the local socket, the user (``uid``) whose process (``pid``) asked.
    ``client`` is its ip, or ``local``; ``agent`` took it. ``body`` is without secrets. ``dag`` is
    the task that it led to or was about, ``dag_state`` how that is now: null if it is gone, or
    cannot be asked for. ``duration`` is in milliseconds.
    """

    number: int
    time: Timestamp
    trace_id: str
    who: str
    uid: int | None
    pid: int | None
    client: str
    agent: str
    method: str
    path: str
    body: Any
    status: int | None
    errCode: str | None
    dag: str | None
    dag_state: str | None
    duration: int | None


class AuditTrail(Contents[AuditRecord]):
    """Records, the newest first, without those of the agents that are ``unreachable``."""

    unreachable: list[UnreachableAgent]
