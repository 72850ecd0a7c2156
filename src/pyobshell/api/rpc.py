"""The routes by which agents speak among themselves; not part of the public API."""

from __future__ import annotations

import asyncio
import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pyobshell import errors
from pyobshell.api.call import Call
from pyobshell.cluster.peers import RPC_PREFIX, SESSION_HEADER, SESSION_PATH, frame_binding
from pyobshell.operations.site import Site


async def open_session(request: Request) -> Response:
    """Open a session for an agent that proves who it is."""
    call, site = _call(request), _site(request)
    try:
        hello = json.loads(await request.body())
        if not isinstance(hello, dict):
            raise TypeError
    except (ValueError, TypeError):
        return call.failure(errors.BIND_JSON_FAILED(cause="it is no hello"))
    try:
        session_id = await site.doorway.welcome(hello)
    except errors.OBShellError as error:
        return call.failure(error)
    return Response(json.dumps({"session": session_id}), media_type="application/json")


async def run_procedure(request: Request) -> Response:
    """Run the procedure a sealed frame asks for; given up when the asking agent hangs up."""
    call, site = _call(request), _site(request)
    name = request.path_params["name"]
    frame = await request.body()
    binding = frame_binding("POST", RPC_PREFIX + name)
    session_id = request.headers.get(SESSION_HEADER, "")
    work = asyncio.create_task(site.doorway.answer(session_id, name, frame, binding))
    hung_up = asyncio.create_task(_hung_up(request))
    try:
        await asyncio.wait({work, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            return Response(status_code=499)
        return Response(work.result(), media_type="application/octet-stream")
    except errors.OBShellError as error:
        return call.failure(error)
    finally:
        work.cancel()
        hung_up.cancel()
        await asyncio.gather(work, hung_up, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _call(request: Request) -> Call:
    call: Call = request.scope["call"]
    return call


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


ROUTES = [
    Route(SESSION_PATH, open_session, methods=["POST"]),
    Route(RPC_PREFIX + "{name:path}", run_procedure, methods=["POST"]),
]
