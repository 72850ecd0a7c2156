"""The password of an agent itself: what guards it as long as there is no password of root@sys."""

from __future__ import annotations

import structlog

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.operations.site import Site

LONGEST_BYTES = 1024
_log = structlog.get_logger(__name__)


async def set_agent_password(site: Site, password: str) -> None:
    """Set it, or replace it; it lies sealed in this agent's database alone.

    Raises ``Agent.Identify.NotSupportOperation`` if the agent does not know yet what it is, and
    ``Common.IllegalArgument`` for one that is too long for the header of a request.
    """
    if site.cluster.view.identity is Identity.UNIDENTIFIED:
        site.cluster.view.require(Identity.SINGLE, Identity.CLUSTER_AGENT)
    if len(password.encode()) > LONGEST_BYTES:
        raise errors.ILLEGAL_ARGUMENT(
            name="password", reason=f"it may have {LONGEST_BYTES} bytes at most"
        )
    await site.cluster.change(lambda view: view, lambda known: known.with_agent(password))
    _log.info("the agent password was set", action="agent.password")
