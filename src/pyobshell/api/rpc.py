"""The door for other agents: sealed frames under ``/rpc/v1``, beside the public API."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from pyobshell import errors
from pyobshell.address import network_of
from pyobshell.api.body import read_body
from pyobshell.api.call import call_of
from pyobshell.api.hung_up import has_hung_up
from pyobshell.api.network import client_of, note_proven, sender_of
from pyobshell.cluster.doorway import Asked
from pyobshell.cluster.exchange import (
    ANNOUNCEMENT_HEADER,
    RPC_PREFIX,
    SESSION_HEADER,
    SESSION_PATH,
    UNANNOUNCED,
    announcement_binding,
    frame_binding,
)
from pyobshell.operations.site import Site
from pyobshell.security.turns import HUNG_UP

_FRAMES = "application/octet-stream"
_LARGEST_HELLO = 16 * 1024
_LARGEST_FRAME = 64 * 1024 * 1024
_SMALL_FRAME = 64 * 1024
MOST_LARGE_FRAMES = 64
"""How many frames that anybody could send, unless small, are read of an address at once."""

_ALIVE_S = 4.0  # a fraction of the silence after which an agent is taken for lost


class Rpc:
    """ASGI application of one agent for its fellows; a short way, for it is taken often."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._large_frames = Counter[str]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        response: Response
        try:
            if request.method != "POST":
                raise errors.NOT_FOUND(method=request.method, path=scope["path"])
            if scope["path"] == SESSION_PATH:
                response = await self._open_session(request)
            else:
                asked = await self._asked(request)
                response = StreamingResponse(self._answer(asked), media_type=_FRAMES)
        except errors.OBShellError as error:
            response = call_of(request).failure(error)
        await response(scope, receive, send)

    async def _open_session(self, request: Request) -> Response:
        """Open a session for an agent that proves who it is."""
        try:
            hello = json.loads(await read_body(request.receive, _LARGEST_HELLO))
            if not isinstance(hello, dict):
                raise TypeError
        except (ValueError, TypeError, RecursionError):
            raise errors.BIND_JSON_FAILED(cause="it is no hello") from None
        if await has_hung_up(request.receive):
            raise errors.BAD_REQUEST(cause=HUNG_UP)
        session_id = await self._site.doorway.welcome(hello, sender_of(request.scope))
        return Response(json.dumps({"session": session_id}), media_type="application/json")

    async def _asked(self, request: Request) -> Asked:
        name = request.url.path.removeprefix(RPC_PREFIX)
        binding = frame_binding("POST", RPC_PREFIX + name)
        session_id = request.headers.get(SESSION_HEADER, "")
        doorway = self._site.doorway
        known = doorway.is_members(session_id, name)  # of others not even the body is read
        announcement = request.headers.get(ANNOUNCEMENT_HEADER)
        if known and announcement is not None:
            bound_to = announcement_binding(binding)
            length = doorway.announced(session_id, name, announcement, bound_to)
            frame = await read_body(request.receive, min(length, _LARGEST_FRAME))
        else:
            frame = await self._read_anybodys(request)
        if await has_hung_up(request.receive):
            raise errors.BAD_REQUEST(cause=HUNG_UP)
        asked = doorway.open(session_id, name, frame, binding, client_of(request.scope))
        if known:
            note_proven(request.scope)
        return asked

    async def _read_anybodys(self, request: Request) -> bytes:
        """A frame that anybody could send who has seen the id of a session, or has opened one."""
        address, counted = network_of(client_of(request.scope)), False

        async def count() -> None:
            nonlocal counted
            if self._large_frames[address] >= MOST_LARGE_FRAMES:
                raise errors.BAD_REQUEST(cause=f"too many large frames come from {address}")
            self._large_frames[address] += 1
            counted = True

        try:
            return await read_body(request.receive, UNANNOUNCED, unasked=_SMALL_FRAME, let_in=count)
        finally:
            if counted:
                self._large_frames[address] -= 1
                self._large_frames += Counter()  # forgets those of whom nothing is left

    async def _answer(self, asked: Asked) -> AsyncIterator[bytes]:
        """Run what was asked for, and pass its frames on as they come.

        When the asking agent hangs up, the response is cancelled, and the work with it. While it
        goes on it shows so: an agent that is silent is lost.
        """
        frames: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def work() -> None:
            try:
                await self._site.doorway.run(asked, frames.put_nowait)
            finally:
                frames.put_nowait(None)

        running = asyncio.create_task(work())
        try:
            while (frame := await self._next(frames, asked)) is not None:
                yield frame
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _next(self, frames: asyncio.Queue[bytes | None], asked: Asked) -> bytes | None:
        """The next frame, or a sign of life if there is none for a while."""
        try:
            async with asyncio.timeout(_ALIVE_S):
                return await frames.get()
        except TimeoutError:
            if not frames.empty():
                return frames.get_nowait()
            return self._site.doorway.sign_of_life(asked)
