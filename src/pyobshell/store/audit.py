"""The audit trail of one agent, on its disk: who asked it for a change, and what the answer was.

A request is entered before it is carried out, and completed when it is answered: one whose answer
never came stays without. What is entered must have no secret in it.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import asdict, dataclass

import structlog
from sqlalchemy import Connection, bindparam, text

from pyobshell.store.database import Database

_log = structlog.get_logger(__name__)
_BATCH = 500

_ENTER = text(
    "INSERT INTO audit_record"
    " (moment, trace_id, who, uid, pid, client, method, path, body, dag_id)"
    " VALUES (:moment, :trace_id, :who, :uid, :pid, :client, :method, :path, :body, :dag_id)"
)
_COMPLETE = text(
    "UPDATE audit_record SET status = :status, error_code = :error_code,"
    " duration_ms = :duration_ms, dag_id = COALESCE(dag_id, :dag_id) WHERE id = :number"
)
_FIND = (
    "SELECT id AS number, moment, trace_id, who, uid, pid, client, method, path, body, dag_id,"
    " status, error_code, duration_ms FROM audit_record"
)
# Each condition counts only if its value is given.
_CONDITIONS = {
    "since": "moment >= :since",
    "until": "moment < :until",
    "who": "who = :who",
    "path": "instr(path, :path) > 0",
    "dag_id": "dag_id = :dag_id",
    "below": "(moment < :moment OR (moment = :moment AND id < :below))",
}
_MAY_HAVE_FAILED = "(status IS NULL OR status >= 400 OR dag_id IS NOT NULL)"
_OLDEST = text("SELECT id FROM audit_record WHERE moment < :moment ORDER BY moment LIMIT :most")
_DELETE = text("DELETE FROM audit_record WHERE id IN :numbers").bindparams(
    bindparam("numbers", expanding=True)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A request for a change, as it came; ``moment`` in nanoseconds since the epoch.

    ``uid`` and ``pid`` are those of a caller on this host. ``body`` is JSON. ``dag_id`` is the
    generic id of the DAG that it is about, if it is about one.
    """

    moment: int
    trace_id: str
    who: str
    uid: int | None
    pid: int | None
    client: str
    method: str
    path: str
    body: str
    dag_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it was answered: HTTP status, error code if refused, the DAG that it led to."""

    status: int
    error_code: str | None
    dag_id: str | None
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Entry):
    """A request and its answer; without one ``status`` is None."""

    number: int
    status: int | None
    error_code: str | None
    duration_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which records: from one moment up to before another, and what else they must have.

    ``path`` may be any part of it. ``may_have_failed`` leaves out what was carried out at once.
    """

    since: int | None = None
    until: int | None = None
    who: str | None = None
    path: str | None = None
    dag_id: str | None = None
    may_have_failed: bool = False


class AuditLog:
    """The records of one agent."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enter(self, entry: Entry) -> int:
        """Put a request on record, on disk when this returns; its number is for ``complete``."""
        values = asdict(entry)
        return await self._database.write(lambda c: int(c.execute(_ENTER, values).lastrowid))

    def complete(self, number: int, outcome: Outcome) -> None:
        """Add how a request was answered, without making the answer wait."""
        values = {"number": number, **asdict(outcome)}

        def write(connection: Connection) -> None:
            connection.execute(_COMPLETE, values)

        self._database.submit(write).add_done_callback(_complain)

    async def find(self, wanted: Wanted, most: int, below: Record | None = None) -> list[Record]:
        """The newest records that are wanted, of those below another one if that is given."""
        values = {name: v for name, v in asdict(wanted).items() if v is not None}
        if below is not None:
            values |= {"below": below.number, "moment": below.moment}
        conditions = [sql for name, sql in _CONDITIONS.items() if name in values]
        if wanted.may_have_failed:
            conditions.append(_MAY_HAVE_FAILED)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        query = text(f"{_FIND}{where} ORDER BY moment DESC, id DESC LIMIT :most")

        def read(connection: Connection) -> list[Record]:
            rows = connection.execute(query, {**values, "most": most}).mappings()
            return [Record(**row) for row in rows]

        # Answers that clients have seen may wait for the writer still: let it come that far.
        await self._database.write(lambda _: None)
        return await self._database.read(read)

    async def prune(self, moment: int) -> int:
        """Forget what was asked before a moment, in small transactions; returns how much it was."""

        def batch(connection: Connection) -> int:
            oldest = {"moment": moment, "most": _BATCH}
            numbers = connection.execute(_OLDEST, oldest).scalars().all()
            connection.execute(_DELETE, {"numbers": numbers})
            return len(numbers)

        gone = 0
        while count := await self._database.write(batch):
            gone += count
        return gone


def _complain(written: Future[None]) -> None:
    error = written.exception()
    if error is not None:
        _log.error("not completed", action="audit.complete", exc_info=error)
