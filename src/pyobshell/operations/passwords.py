"""A password of root that was changed in the database, and how the cluster's agents learn it.

It comes with a request, and is kept if the server here takes it. Who learns it tells the others,
whose servers may share it; an agent that was down meanwhile asks them.
"""

from __future__ import annotations

import asyncio

import structlog
from pydantic import BaseModel

from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller, Nothing, procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations.site import Site

_log = structlog.get_logger(__name__)
_TELL_S = 2.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


class Password(BaseModel):
    """A password as it travels between agents, sealed."""

    password: str


async def accept(site: Site, offered: str) -> bool:
    """Whether the server here takes a password that is not the one we know; if so, all are told.

    Who cannot be told in time learns it when it is used there, or asks at its next start.
    """
    if not await site.try_password(offered):
        return False
    told, patience = Password(password=offered), Deadline.after(_TELL_S)
    await site.peers.call_all(site.cluster.view.others, learn, told, patience)
    return True


@procedure("password/learn")
async def learn(site: Site, caller: Caller, told: Password) -> Nothing:
    """Keep a password that another agent's server has accepted, if the server here does so too."""
    await site.try_password(told.password)
    return Nothing()


@procedure("password/tell")
async def tell(site: Site, caller: Caller, request: Nothing) -> Password:
    """The password that this agent knows, to a member."""
    return Password(password=site.cluster.passwords.root or "")


def look_whether_changed(site: Site) -> None:
    """At the agent's start: learn a password that was changed while it was down."""
    if site.cluster.view.identity is Identity.CLUSTER_AGENT:
        site.background.begin(_look(site))


async def _look(site: Site) -> None:
    refused: set[str] = set()
    pause_s = _FIRST_PAUSE_S
    while not await _is_known(site, refused):
        await asyncio.sleep(pause_s)  # the server may be down for long, the others too
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


async def _is_known(site: Site, refused: set[str]) -> bool:
    """Whether the server here takes the password that this agent knows, or one of the others'.

    None is tried again that it has ``refused``.
    """
    known = site.cluster.passwords.root or ""
    try:
        if known not in refused and await site.engine.login(known):
            return True
    except OBShellError as error:  # it is down
        _log.info("not known yet", action="password.look", cause=str(error))
        return False
    refused.add(known)
    for agent in site.cluster.view.others:
        patience = Deadline.after(site.settings.rpc_timeout_s)
        try:
            told = (await site.peers.call(agent, tell, Nothing(), patience)).password
        except OBShellError:
            continue  # the next one may know
        if told not in refused and await site.try_password(told):
            _log.info("learned from another agent", action="password.learn", agent=str(agent))
            return True
        refused.add(told)
    return False


PROCEDURES = (learn, tell)
