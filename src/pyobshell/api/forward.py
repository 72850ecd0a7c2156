"""Carries a request from a FOLLOWER to its master, and the answer back."""

from __future__ import annotations

from typing import Any

import httpx
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pyobshell.address import Address
from pyobshell.api.call import Call
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller, procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import Language
from pyobshell.operations.site import Site
from pyobshell.security.hybrid import RequestHeader
from pyobshell.security.verify import Credentials

_PATIENCE_S = 60.0


class Forwarded(BaseModel):
    """A request as one agent hands it to another; a trusted one is vouched for by the first."""

    method: str
    target: str
    body: str
    trace_id: str
    language: Language
    trusted: bool
    kind: str | None = None
    password: str | None = None


class Answered(BaseModel):
    """Its answer."""

    status: int
    body: str


async def forward(request: Request, site: Site) -> Response:
    """Have the master answer a request; raises ``Agent.NoMaster`` or what reaching it raises."""
    call: Call = request.scope["call"]
    credentials = call.credentials
    handed = Forwarded(
        method=request.method,
        target=call.target,
        body=(await request.body()).decode(),
        trace_id=call.trace_id,
        language=call.language,
        trusted=call.trusted,
        kind=credentials.kind if credentials else None,
        password=credentials.header.auth if credentials else None,
    )
    master = site.cluster.view.master
    answered = await site.peers.call(master, take_over, handed, Deadline.after(_PATIENCE_S))
    return Response(answered.body, answered.status, media_type="application/json")


@procedure("api/forward")
async def take_over(site: Site, caller: Caller, handed: Forwarded) -> Answered:
    """Answer a request in the place of the follower it was sent to.

    Only a MASTER believes that the follower's own user has asked; others want credentials.
    """
    believed = handed.trusted and site.cluster.view.identity is Identity.MASTER
    call = _call(handed, caller.address, trusted=believed)
    transport = httpx.ASGITransport(app=_Preset(site.api, call))
    async with httpx.AsyncClient(transport=transport, base_url="http://master") as client:
        response = await client.request(
            handed.method,
            handed.target,
            content=handed.body,
            headers={"content-type": "application/json"},
        )
    return Answered(status=response.status_code, body=response.text)


def _call(handed: Forwarded, forwarder: Address, *, trusted: bool) -> Call:
    credentials = None
    if handed.kind is not None:
        header = RequestHeader(auth=handed.password or "", ts="", uri=handed.target)
        credentials = Credentials(_kind(handed.kind), header)
    return Call(
        target=handed.target,
        trace_id=handed.trace_id,
        language=handed.language,
        trusted=trusted,
        forwarder=forwarder,
        credentials=credentials,
    )


def _kind(kind: str) -> Any:
    return kind if kind in ("root", "agent", "v1") else "root"


class _Preset:
    """The routes behind the gateway, with a call that is made already."""

    def __init__(self, app: ASGIApp, call: Call) -> None:
        self._app = app
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["call"] = self._call
        await self._app(scope, receive, send)


PROCEDURES = (take_over,)
