"""What failed last, for who comes when something is wrong: which task, why, and what to do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from pyobshell.cli import text
from pyobshell.cli.again import once_mended
from pyobshell.cli.outcome import in_options
from pyobshell.cli.place import Place
from pyobshell.client import ApiError, Client, Unreachable
from pyobshell.wire import AuditRecord, DagDetailDTO

_SINCE = "24h"
_MANY = 1000  # refused requests may stand before it
_MOST_LOOKED_AT = 50
_AT_ONCE = 8
_REFUSED = 400
_BY_ALL = ("Stop OB", "Start OB", "Rolling restart")
_BY_ONE = ("Stop local observer", "Start local observer")


@dataclass(frozen=True)
class _Task:
    """A task that has ended, and the request that it was begun, or gone on with, for."""

    dag: DagDetailDTO
    record: AuditRecord

    @property
    def ended(self) -> datetime:
        return text.moment(self.dag.end_time)

    def overtakes(self, failed: _Task) -> bool:
        """Whether it was asked for after the other had failed, and leaves nothing of it to do.

        It counts as that if servers were stopped or started by both; of what an agent did alone
        only the same agent's is.
        """
        if text.moment(self.record.time) < failed.ended or self.dag.operator == "PASS":
            return False
        if self.dag.name in _BY_ALL:
            return failed.dag.name in (*_BY_ALL, *_BY_ONE)
        both_alone = self.dag.name in _BY_ONE and failed.dag.name in _BY_ONE
        return both_alone and self.record.agent == failed.record.agent


async def failed_last(client: Client, where: Place) -> list[str]:
    """Lines about the task that failed last, of those begun within a day; none if there is none.

    That is the one that ended last. One that was retried or passed since, and did succeed, has not
    failed; nor is a stop or start told of once a later one has succeeded.
    """
    try:
        failed = await _tasks(client, "FAILED", _SINCE)
        if not failed:
            return []
        failed.sort(key=lambda one: one.ended, reverse=True)
        later = await _tasks(client, "SUCCEED", str(failed[-1].dag.end_time))
        left = [one for one in failed if not any(other.overtakes(one) for other in later)]
        if not left:
            return []
        dag = await client.dag(left[0].dag.id)
    except (ApiError, Unreachable):
        return []  # nobody has asked for this
    return list(_told(dag, left[0].record, where))


async def _tasks(client: Client, state: str, since: str) -> list[_Task]:
    """The tasks in a state that were asked for last; those that cannot be seen are left out."""
    trail = await client.audit(since=since, failed=state == "FAILED", limit=_MANY)
    newest: dict[str, AuditRecord] = {}
    for record in trail.contents:
        accepted = record.status is not None and record.status < _REFUSED
        if record.dag and record.dag_state == state and accepted:
            newest.setdefault(record.dag, record)
    some = asyncio.Semaphore(_AT_ONCE)

    async def look(record: AuditRecord) -> _Task | None:
        try:
            async with some:
                return _Task(await client.dag(str(record.dag), details=False), record)
        except (ApiError, Unreachable):
            return None

    found = await asyncio.gather(*map(look, list(newest.values())[:_MOST_LOOKED_AT]))
    return [one for one in found if one is not None and one.dag.state == state]


def _told(dag: DagDetailDTO, record: AuditRecord, where: Place) -> list[str]:
    show = where.command("task", "show", "-i", dag.id)
    asked = f"{record.method} {record.path.removeprefix('/api/v1')} by {record.who}"
    cancelled = ", cancelled" if dag.operator == "CANCEL" else ""
    ended = f"{asked} at {record.agent}, {dag.end_time}{cancelled}"
    lines = [f"Failed last: '{dag.name}' {dag.id}, {ended}"]
    lines += [f"✗ {text.agent_of(task)} {task.name}: {why}" for why, task in text.failures(dag)]
    if text.stays_locked(dag):
        lines.append(f"→ {text.lock_advice(dag)}")
    lines += [
        f"→ all of its logs: {show} -d",
        f"→ once the cause is mended: {once_mended(dag, where)}",
        f"→ all that failed or was refused: {where.command('audit', '--failed')}",
    ]
    return [in_options(line) for line in lines]
