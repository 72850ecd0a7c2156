"""Who may call: credentials are checked here, and a FOLLOWER's requests go on to its master."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Literal

from fastapi import Depends, Request
from pydantic import BaseModel
from starlette.types import Scope

from pyobshell import errors
from pyobshell.api.call import Call, CallDep
from pyobshell.api.network import client_of, note_proven
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller, procedure
from pyobshell.deadline import Deadline
from pyobshell.operations.passwords import accept as accept_password
from pyobshell.operations.site import Site
from pyobshell.security.hybrid import RequestHeader
from pyobshell.security.verify import (
    Credentials,
    check_binding,
    verify,
    verify_for_itself,
    verify_with_agent_password,
)

# Who asks, as it is recorded; ANYBODY where nothing is guarded yet, LOCAL_USER if unknown which.
ROOT, AGENT, ANYBODY, LOCAL_USER = "root@sys", "agent password", "anybody", "local user"
Judge = Callable[[Site, Credentials], Awaitable[str]]
_OBPROXY_IDS = ("4", "5")
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
    if _concerns_obproxy(request):
        await _admit(request, call, site, _accept_for_obproxy)
        return
    usual = _usual_judge(site)
    await _admit(request, call, site, usual)
    if usual is _ask_master and not call.trusted:
        raise ForwardToMaster


async def authorise_for_itself(request: Request, call: CallDep, site: SiteDep) -> None:
    """As ``authorise``, for what is this agent's own: if it has an agent password, that counts.

    Without one it must be SINGLE or CLUSTER AGENT, or only the local user may: others raise
    ``Agent.Identify.NotSupportOperation``. No request is forwarded, or taken from who has.
    """
    if call.forwarder is not None:
        raise errors.NOT_FOUND(method=request.method, path=request.url.path)
    if not call.trusted and site.cluster.passwords.agent is None:
        site.cluster.view.require(Identity.SINGLE, Identity.CLUSTER_AGENT)
    await _admit(request, call, site, _accept_for_itself)


async def guarded(call: CallDep, site: SiteDep) -> None:
    """Routes that nobody may use from elsewhere as long as the agent guards nothing."""
    guards_nothing = site.cluster.view.identity is Identity.SINGLE
    if guards_nothing and site.cluster.passwords.agent is None and not call.trusted:
        raise errors.AGENT_PASSWORD_NOT_INITIALIZED()


async def _admit(request: Request, call: Call, site: Site, judge: Judge) -> None:
    """Let the rightful user through whom ``judge`` knows, on record if something is to change."""
    who = LOCAL_USER if call.trusted else await _let_in(site, call, request.scope, judge)
    if call.unreadable is not None:
        raise call.unreadable
    if call.recording is not None:
        await call.recording.begin(request, who)


async def let_in(site: Site, call: Call, scope: Scope) -> None:
    """See that a request may come in of which there is much to read, by its head.

    Raises an error of credentials. What other judges let in is never as large.
    """
    await _let_in(site, call, scope, _usual_judge(site))


async def _let_in(site: Site, call: Call, scope: Scope, judge: Judge) -> str:
    """Whose the credentials of a request are, which must have been made for it alone.

    They let it in once, as whom the same judge has said already.
    """
    if call.admitted_by is judge:
        return call.admitted_as
    credentials = call.credentials
    if credentials is None:
        raise errors.HEADER_NOT_FOUND()
    if call.door is None:  # who has forwarded it has let it in
        return await judge(site, credentials)
    now, longest_s = time.time(), site.settings.header_lifetime_s
    expiry = check_binding(credentials.header, call.target, now, longest_s)
    async with call.door.logins.judging(client_of(scope)):
        who = await judge(site, credentials)
    if who != ANYBODY or scope["method"] != "GET":
        call.door.replays.admit(credentials.header.sections, expiry, now)
    if who != ANYBODY:
        note_proven(scope)
    call.admitted_as, call.admitted_by = who, judge
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


async def _accept_for_itself(site: Site, credentials: Credentials) -> str:
    """Whose the credentials are for what is this agent's own."""
    identity, passwords = site.cluster.view.identity, site.cluster.passwords
    await verify_for_itself(identity, credentials, passwords, partial(accept_password, site))
    if passwords.agent is not None:
        return AGENT
    return ANYBODY if identity is Identity.SINGLE else ROOT


async def _accept_for_obproxy(site: Site, credentials: Credentials) -> str:
    verify_with_agent_password(credentials, site.cluster.passwords)
    return AGENT


def _usual_judge(site: Site) -> Judge:
    """Who says whose credentials are that may call most routes: a FOLLOWER asks its master."""
    return _ask_master if site.cluster.view.identity is Identity.FOLLOWER else accept


def _concerns_obproxy(request: Request) -> bool:
    """Whether it is about a task of obproxy, as its id tells."""
    task_id: str = request.path_params.get("id", "")
    return task_id.startswith(_OBPROXY_IDS)


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
    async with site.logins.judging(caller.host):
        return Accepted(who=await accept(site, Credentials(offered.kind, header)))


async def for_master(call: CallDep, site: SiteDep) -> None:
    """Routes that only a MASTER can answer: from the local socket too they are passed on."""
    if site.cluster.view.identity is Identity.FOLLOWER:
        raise ForwardToMaster


async def local_only(request: Request, call: CallDep) -> None:
    """Routes that are there for who asks over the agent's own socket alone."""
    if not call.local:
        raise errors.NOT_FOUND(method=request.method, path=request.url.path)


AUTHORISED = Depends(authorise)
AUTHORISED_FOR_ITSELF = Depends(authorise_for_itself)
FOR_MASTER = Depends(for_master)
GUARDED = Depends(guarded)
LOCAL_ONLY = Depends(local_only)
PROCEDURES = (judge,)
