"""Who may call: credentials are checked here, and a FOLLOWER's requests go on to its master."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Literal

from fastapi import Depends, Request
from pydantic import BaseModel
from starlette.types import Scope

from pyobshell import errors
from pyobshell.api.call import Call, CallDep
from pyobshell.api.network import note_proven
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller, procedure
from pyobshell.deadline import Deadline
from pyobshell.operations.passwords import accept as accept_password
from pyobshell.operations.site import Site
from pyobshell.security.hybrid import RequestHeader
from pyobshell.security.verify import Credentials, check_binding, verify

# Who asks, as it is recorded; ANYBODY where nothing is guarded yet, LOCAL_USER if unknown which.
ROOT, AGENT, ANYBODY, LOCAL_USER = "root@sys", "agent password", "anybody", "local user"
_PATIENCE_S = 60.0


class ForwardToMaster(Exception):  # noqa: N818 - it is no error
    """Not an error: the request is for the master, which is to answer in this agent's place."""


def site_of(request: Request) -> Site:
    """The agent whose API this is."""
    site: Site = request.app.state.site
    return site


SiteDep = Annotated[Site, Depends(site_of)]


async def authorise(request: Request, call: CallDep, site: SiteDep) -> None:
    """Let the rightful user through, on record if something is to change.

    Raises an error of credentials, ``Agent.Audit.NotRecorded``, or ForwardToMaster.
    """
    forwards = not call.trusted and site.cluster.view.identity is Identity.FOLLOWER
    who = LOCAL_USER if call.trusted else await let_in(site, call, request.scope)
    if call.unreadable is not None:
        raise call.unreadable
    if call.recording is not None:
        await call.recording.begin(request, who)
    if forwards:
        raise ForwardToMaster


async def let_in(site: Site, call: Call, scope: Scope) -> str:
    """Whose the credentials of a request are, which must have been made for it alone.

    They let it in once; raises an error of credentials.
    """
    if call.admitted_as:
        return call.admitted_as
    credentials = call.credentials
    if credentials is None:
        raise errors.HEADER_NOT_FOUND()
    if call.door is None:  # who has forwarded it has let it in
        return await accept(site, credentials)
    now, longest_s = time.time(), site.settings.header_lifetime_s
    expiry = check_binding(credentials.header, call.target, now, longest_s)
    forwards = site.cluster.view.identity is Identity.FOLLOWER
    async with call.door.logins.judging(scope["client"][0] if scope.get("client") else ""):
        who = await (_ask_master if forwards else accept)(site, credentials)
    if who != ANYBODY:
        call.door.replays.admit(credentials.header.sections, expiry, now)
        note_proven(scope)
    call.admitted_as = who
    return who


async def accept(site: Site, credentials: Credentials) -> str:
    """Whose the credentials are that this agent accepts; raises an error of credentials."""
    identity, passwords = site.cluster.view.identity, site.cluster.passwords
    await verify(identity, credentials, passwords, partial(accept_password, site))
    if passwords.agent is not None and credentials.kind == "agent":
        return AGENT
    guards_nothing = identity is Identity.SINGLE or (
        identity is Identity.MASTER and passwords.root is None
    )
    return ANYBODY if guards_nothing else ROOT


class Offered(BaseModel):
    """A password that a client has offered to a FOLLOWER, and as what."""

    kind: Literal["root", "agent", "v1"]
    password: str


class Accepted(BaseModel):
    """Whose it is."""

    who: str


async def _ask_master(site: Site, credentials: Credentials) -> str:
    """Whose the credentials are that the master accepts; raises what it raises."""
    offered = Offered(kind=credentials.kind, password=credentials.header.auth)
    patience = Deadline.after(_PATIENCE_S)
    return (await site.peers.call(site.cluster.view.master, judge, offered, patience)).who


@procedure("api/judge")
async def judge(site: Site, caller: Caller, offered: Offered) -> Accepted:
    """Whose a password is, if this master accepts it; raises an error of credentials."""
    if site.cluster.view.identity is Identity.FOLLOWER:
        raise errors.AGENT_NO_MASTER()
    header = RequestHeader(auth=offered.password, ts="", uri="")
    return Accepted(who=await accept(site, Credentials(offered.kind, header)))


async def for_master(call: CallDep, site: SiteDep) -> None:
    """Routes that only a MASTER can answer: from the local socket too they are passed on."""
    if site.cluster.view.identity is Identity.FOLLOWER:
        raise ForwardToMaster


AUTHORISED = Depends(authorise)
FOR_MASTER = Depends(for_master)
PROCEDURES = (judge,)
