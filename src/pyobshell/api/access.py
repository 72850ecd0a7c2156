"""Who may call: credentials are checked here, and a FOLLOWER's requests go on to its master."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

from fastapi import Depends, Request
from pydantic import BaseModel
from starlette.types import Scope

from pyobshell import errors
from pyobshell.api.call import Call, CallDep
from pyobshell.api.hung_up import minding
from pyobshell.api.network import note_proven, sender_of
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller, procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations.passwords import accept as accept_password
from pyobshell.operations.site import Site
from pyobshell.security.hybrid import RequestHeader
from pyobshell.security.verify import (
    Credentials,
    check_binding,
    known_as,
    stated_expiry,
    verify,
    verify_for_itself,
    verify_with_agent_password,
)

# Who asks, as it is recorded; ANYBODY where nothing is guarded yet, LOCAL_USER if unknown which.
ROOT, AGENT, ANYBODY, LOCAL_USER = "root@sys", "agent password", "anybody", "local user"
_OF = {"root": ROOT, "agent": AGENT}
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
    credentials = call.credentials
    if credentials is None:
        raise errors.HEADER_NOT_FOUND()
    if call.door is None:  # who has forwarded it has let it in
        return await judge(site, credentials)
    if call.admitted_by is judge:  # it was used up then, but passwords may have changed since
        _require_present_key(site, credentials)
        return await judge(site, credentials)
    longest_s = site.settings.header_lifetime_s
    check_binding(credentials.header, call.target, time.time(), longest_s)
    async with (
        minding(sender_of(scope).gone),
        call.door.logins.judging(credentials.client) as waited_s,
    ):
        who = await judge(site, replace(credentials, waited_s=waited_s))
    _require_present_key(site, credentials)
    now = time.time()  # it may have waited for long
    expiry = check_binding(credentials.header, call.target, now, longest_s)
    replays, sections, anybodys = call.door.replays, credentials.header.sections, who == ANYBODY
    of_anybody = credentials.client if anybodys else None
    if anybodys and scope["method"] == "GET":
        replays.note(sections, expiry, now, of_anybody=of_anybody)
    else:
        password = site.vault.fingerprint(credentials.header.auth)
        replays.admit(sections, expiry, now, password=password, of_anybody=of_anybody)
    if not anybodys:
        note_proven(scope)
    call.admitted_as, call.admitted_by = who, judge
    return who


def _require_present_key(site: Site, credentials: Credentials) -> None:
    """Raise for what was made for a key that was given up: what it has opened is forgotten."""
    if credentials.key != site.keyring.public_text:
        raise errors.HEADER_DECRYPT_FAILED()


async def use_up(site: Site, call: Call) -> None:
    """Have the credentials of a request that did not come in let nobody in later either.

    If their password is right: who has recorded them could use it. Of strangers nothing is kept.
    Nobody is told what was found, also not who knows another password, so that it is no way to
    guess, and costs nobody a guess.
    """
    admitted = call.credentials if call.admitted_by is not None else None
    for credentials in (call.credentials, *call.beside):
        if credentials is None or credentials is admitted:
            continue
        now, expiry = time.time(), stated_expiry(credentials.header)
        sections = credentials.header.sections
        if expiry < int(now):
            sections = tuple(one for one in sections if one.timeless)
        elif expiry > now + site.settings.header_lifetime_s:  # one day it will be good
            sections = tuple(replace(one, timeless=True) for one in sections)
        with suppress(OBShellError):
            if sections:
                if await _recognise(site, credentials) == ANYBODY:
                    site.replays.note(sections, expiry, now, of_anybody=credentials.client)
                else:
                    password = site.vault.fingerprint(credentials.header.auth)
                    site.replays.note(sections, expiry, now, password=password)


async def _recognise(site: Site, credentials: Credentials) -> str:
    """Whose a password is that is known here or to the master, whatever it was offered for.

    No database is asked. Raises an error of credentials if it is nobody's.
    """
    identity, passwords = site.cluster.view.identity, site.cluster.passwords
    kind = known_as(credentials.header.auth, passwords)
    if kind is not None:
        return _OF[kind]
    if identity is Identity.FOLLOWER:
        return await _ask_master_in_passing(site, credentials)
    if passwords.agent is None and _has_no_cluster_to_guard(site):
        return ANYBODY
    raise errors.INCORRECT_OCEANBASE_PASSWORD()


async def accept(site: Site, credentials: Credentials) -> str:
    """Whose the credentials are that this agent accepts; raises an error of credentials."""
    identity, passwords = site.cluster.view.identity, site.cluster.passwords
    await verify(identity, credentials, passwords, partial(accept_password, site))
    if passwords.agent is not None and credentials.kind == "agent":
        return AGENT
    return ANYBODY if _has_no_cluster_to_guard(site) else ROOT


def _has_no_cluster_to_guard(site: Site) -> bool:
    identity, passwords = site.cluster.view.identity, site.cluster.passwords
    return identity is Identity.SINGLE or (identity is Identity.MASTER and passwords.root is None)


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
    """A password that a client has offered to a FOLLOWER, and as what.

    ``client`` is the ip it came from, which pays for a wrong one; it has waited ``waited_s`` at the
    FOLLOWER for its turn. ``only_known`` asks whether it is one that the master knows, whatever it
    was offered for.
    """

    kind: Literal["root", "agent", "v1"]
    password: str
    client: str
    waited_s: float = 0.0
    only_known: bool = False


class Accepted(BaseModel):
    """As whom it lets in, or (``only_known``) whose it is."""

    who: str


async def _ask_master(site: Site, credentials: Credentials) -> str:
    """Whose the credentials are that the master accepts; raises what it raises."""
    return (await _have_judged(site, credentials)).who


async def _have_judged(
    site: Site, credentials: Credentials, *, only_known: bool = False
) -> Accepted:
    password = credentials.header.auth
    offered = Offered(
        kind=credentials.kind,
        password=password,
        client=credentials.client,
        waited_s=credentials.waited_s,
        only_known=only_known,
    )
    patience = Deadline.after(_PATIENCE_S)
    return await site.peers.call(site.cluster.view.master, judge, offered, patience)


async def _ask_master_in_passing(site: Site, credentials: Credentials) -> str:
    """Whose a password is, unless the master is asked too much already: anybody can have it asked.

    Raises ``Security.Authentication.IncorrectOceanbasePassword`` then, else as the master.
    """
    if site.in_passing.locked():
        raise errors.INCORRECT_OCEANBASE_PASSWORD()
    async with site.in_passing:
        return (await _have_judged(site, credentials, only_known=True)).who


@procedure("api/judge")
async def judge(site: Site, caller: Caller, offered: Offered) -> Accepted:
    """Whose a password is, if this master accepts it; raises an error of credentials."""
    if site.cluster.view.identity is Identity.FOLLOWER:
        raise errors.AGENT_NO_MASTER()
    header = RequestHeader(auth=offered.password, ts="", uri="")
    credentials = Credentials(offered.kind, header, client=offered.client)
    if offered.only_known:
        return Accepted(who=await _recognise(site, credentials))
    async with site.logins.judging(offered.client, offered.waited_s):
        return Accepted(who=await accept(site, credentials))


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
