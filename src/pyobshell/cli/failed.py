"""What failed last, for who comes when something is wrong: which task, why, and what to do."""

from __future__ import annotations

from pyobshell.cli import text
from pyobshell.cli.outcome import in_options
from pyobshell.cli.place import Place
from pyobshell.client import ApiError, Client, Unreachable
from pyobshell.wire import AuditRecord, DagDetailDTO

_SINCE = "24h"
_MANY = 1000  # refused requests may stand before it


async def failed_last(client: Client, where: Place) -> list[str]:
    """Lines about the task that failed last, of those begun within a day; none if there is none.

    One that was retried or passed since, and did succeed, has not failed.
    """
    try:
        trail = await client.audit(since=_SINCE, failed=True, limit=_MANY)
        records = [one for one in trail.contents if one.dag and one.dag_state == "FAILED"]
        if not records:
            return []
        dag = await client.dag(str(records[0].dag))
    except (ApiError, Unreachable):
        return []  # nobody has asked for this
    return list(_told(dag, records[0], where))


def _told(dag: DagDetailDTO, record: AuditRecord, where: Place) -> list[str]:
    show, retry = (where.command("task", verb, "-i", dag.id) for verb in ("show", "retry"))
    asked = f"{record.method} {record.path.removeprefix('/api/v1')} by {record.who}"
    cancelled = ", cancelled" if dag.operator == "CANCEL" else ""
    ended = f"{asked} at {record.agent}, {dag.end_time}{cancelled}"
    lines = [f"Failed last: '{dag.name}' {dag.id}, {ended}"]
    lines += [f"✗ {text.agent_of(task)} {task.name}: {why}" for why, task in text.failures(dag)]
    if text.stays_locked(dag):
        lines.append(f"→ {text.lock_advice(dag)}")
    lines += [
        f"→ all of its logs: {show} -d",
        f"→ once the cause is mended: {retry}",
        f"→ all that failed or was refused: {where.command('audit', '--failed')}",
    ]
    return [in_options(line) for line in lines]
