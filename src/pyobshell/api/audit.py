"""The route that tells who asked for what."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from pyobshell import errors
from pyobshell.api.access import AUTHORISED, SiteDep
from pyobshell.api.call import CallDep
from pyobshell.operations.audit import Inquiry, trail
from pyobshell.store.audit import Wanted
from pyobshell.tasks.ids import GenericId
from pyobshell.wire import API_PREFIX, NANOSECONDS, AuditTrail, Envelope

router = APIRouter(prefix=API_PREFIX, tags=["audit"], dependencies=[AUTHORISED])

_AGO = re.compile(r"(\d{1,9})\s*([smhdw])", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_Moment = Annotated[
    str | None,
    Query(description="RFC 3339, or how long ago: 90s, 30m, 24h, 7d, 2w", examples=["24h"]),
]


@router.get("/audit", response_model=Envelope[AuditTrail])
async def get_audit(
    call: CallDep,
    site: SiteDep,
    since: _Moment = None,
    until: _Moment = None,
    who: Annotated[
        str | None, Query(description="root@sys, or the name of a user of the agent's host")
    ] = None,
    path: Annotated[str | None, Query(description="any part of path and query")] = None,
    dag: Annotated[str | None, Query(description="id of the task it led to or was about")] = None,
    failed: Annotated[
        bool, Query(description="only what was refused or not answered, or whose task has failed")
    ] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    scope: Annotated[
        Literal["cluster", "agent"], Query(description="agent: only what this agent was asked")
    ] = "cluster",
) -> Response:
    """Who asked for what, from where, and what came of it: the newest first, of all agents.

    Agents that cannot be reached are named; what they were asked is missing.
    """
    now = time.time_ns()
    wanted = Wanted(
        since=_moment("since", since, now),
        until=_moment("until", until, now),
        who=who,
        path=path,
        dag_id=None if dag is None else str(GenericId.parse(dag)),
        may_have_failed=failed,
    )
    alone = (call.forwarder or site.own) if scope == "agent" else None
    inquiry = Inquiry(wanted=wanted, failed=failed, limit=limit)
    return call.answer(await trail(site, inquiry, alone))


def _moment(name: str, text: str | None, now: int) -> int | None:
    """A moment in nanoseconds since the epoch; without an offset it is in this host's time."""
    if text is None:
        return None
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return max(0, now - int(ago[1]) * _SECONDS[ago[2].lower()] * NANOSECONDS)
    written = text.strip()
    if "T" in written:  # a plus that was not escaped has become a space
        written = written.replace(" ", "+")
    try:
        seconds = datetime.fromisoformat(written).astimezone().timestamp()
    except (ValueError, OverflowError):
        raise errors.ILLEGAL_ARGUMENT(
            name=name, reason="use RFC 3339, or how long ago: 90s, 30m, 24h, 7d, 2w"
        ) from None
    return round(seconds * 1_000_000) * 1000
