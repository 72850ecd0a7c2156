"""Keeps stores from growing for ever: audit records and DAGs are forgotten when their time is over.

Each agent looks after its own store, and the maintainer after the cluster's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial

import structlog
from pydantic import BaseModel

from pyobshell.cluster.procedures import Caller, Nothing, procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations import local_scale_out, retirement
from pyobshell.operations.site import Site
from pyobshell.store.database import Database
from pyobshell.tasks import pruning
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import State
from pyobshell.tasks.pruning import Head, Keeping
from pyobshell.wire import NANOSECONDS

_log = structlog.get_logger(__name__)
_PERIOD_S = 3600.0
_JUMP_S = 3600.0
_DAY = 86400 * NANOSECONDS
_SETTLED = 3600 * NANOSECONDS
# A scale out may be rolled back long after the new agent has done its part: it must find it.
_LOOKED_UP_HERE = (local_scale_out.NAME,)
# An agent that was removed while it was away asks what became of it, and of its files.
_LOOKED_UP_IN_CLUSTER = (retirement.SCALE_OUT, retirement.SCALE_IN, retirement.DELETE_ZONE)


class ClockAheadError(Exception):
    """By the clock much may seem to be long ago that is not."""


async def every_hour(work: Callable[[], Awaitable[None]]) -> None:
    """Do it now and every hour, until cancelled; what goes wrong is left to the next time.

    So is all of it when the clock was set ahead meanwhile: it may be set back again.
    """
    ahead_s = 0.0
    while True:
        try:
            if ahead_s > _JUMP_S:
                raise ClockAheadError(f"the clock was set ahead by {ahead_s:.0f} s")
            await work()
        except Exception as error:
            unforeseen = None if isinstance(error, OBShellError | ClockAheadError) else error
            _log.warning(
                "not tidied up", action="store.tidy", cause=str(error), exc_info=unforeseen
            )
        before_s = time.time() - time.monotonic()
        await asyncio.sleep(_PERIOD_S)  # the clock is meant
        ahead_s = time.time() - time.monotonic() - before_s


async def tidy_own_store(site: Site, database: Database) -> None:
    """Forget the records and DAGs in this agent's store whose time is over.

    A certificate whose time is nearly over is spoken of.
    """
    if site.tls is not None:
        site.tls.remind()
    now = time.time_ns()
    records = await site.audit.prune(now - site.settings.audit_keep_days * _DAY)
    superfluous = await _superfluous(site, database, now, _LOOKED_UP_HERE)
    if any(head.state is State.FAILED for head in superfluous):
        holding = await _still_holding(site)
        superfluous = [
            head
            for head in superfluous
            if head.state is State.SUCCEED or (holding is not None and head.id not in holding)
        ]
    await _forget(database, superfluous)
    if records or superfluous:
        _log.info("tidied up", action="store.tidy", records=records, dags=len(superfluous))


async def tidy_cluster_store(site: Site, database: Database) -> None:
    """Forget the cluster's DAGs whose time is over; ``database`` is the maintainer's own way to it.

    What it writes there is fenced by the lease. Raises the errors of the database.
    """
    superfluous = await _superfluous(site, database, time.time_ns(), _LOOKED_UP_IN_CLUSTER)
    await _forget(database, superfluous)
    if superfluous:
        _log.info("tidied up", action="store.tidy_cluster", dags=len(superfluous))


async def _superfluous(
    site: Site, database: Database, now: int, names: Collection[str]
) -> list[Head]:
    settings = site.settings
    since = now - settings.dag_keep_days * _DAY
    keeping = Keeping(since, now - _SETTLED, settings.dag_keep, names)
    return pruning.superfluous(await database.read(pruning.heads), keeping)


async def _still_holding(site: Site) -> set[int] | None:
    """This agent's DAGs, failed ones too, that still hold an agent; None if not all could say."""
    agents = site.cluster.view.who_answer
    patience = Deadline.after(site.settings.rpc_timeout_s)
    answers = await site.peers.call_all(agents, holders, Nothing(), patience)
    found: set[int] = set()
    for answer in answers.values():
        if isinstance(answer, OBShellError):
            return None
        ids = map(GenericId.parse, answer.main_dag_ids)
        found |= {one.number for one in ids if one.agent == site.own}
    return found


async def _forget(database: Database, superfluous: Sequence[Head]) -> None:
    """Take them away in as many transactions as it takes; others come in between."""
    while superfluous:
        batch = partial(pruning.forget, superfluous=superfluous)
        gone = await database.write(batch, again=True)  # gone is gone
        superfluous = superfluous[gone:]


# --- what other agents ask -----------------------------------------------------------------------


class Holders(BaseModel):
    """The DAGs that have an agent locked by a part that is unfinished, by their generic ids."""

    main_dag_ids: list[str]


@procedure("main_dag/holders")
async def holders(site: Site, caller: Caller, request: Nothing) -> Holders:
    """The main DAGs whose parts at this agent are unfinished."""
    named = [dag.data.get("main_dag_id") for dag in await site.tasks.dags(unfinished=True)]
    return Holders(main_dag_ids=[one for one in named if one is not None])


PROCEDURES = (holders,)
