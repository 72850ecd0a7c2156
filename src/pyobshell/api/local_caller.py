"""Who asks over the local socket: the kernel tells the process and its user."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import struct
from dataclasses import dataclass

from starlette.types import Scope

from pyobshell.api.strict_http import StrictHttp

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_STATE = "local_caller"
_NAME_S = 0.2


@dataclass(frozen=True, slots=True)
class LocalCaller:
    """A process, as it was when it connected, and its user."""

    pid: int
    uid: int


class LocalHttp(StrictHttp):
    """HTTP on the local socket; what is asked there says by whom in its ASGI state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of a stream
        """Ask the kernel who has connected."""
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(credentials)
        self.app_state = {**self.app_state, _STATE: LocalCaller(pid, uid)}


def local_caller(scope: Scope) -> LocalCaller | None:
    """Who makes a request, if it came over the local socket."""
    found: LocalCaller | None = scope.get("state", {}).get(_STATE)
    return found


def is_foreign(scope: Scope) -> bool:
    """Whether another user than the agent's own or root makes a request over the local socket.

    None can open it, unless somebody changes its mode, or hands the connection on.
    """
    caller = local_caller(scope)
    return caller is not None and caller.uid not in (0, os.geteuid())


class UserNames:
    """The names of users, asked for once each: a directory in the network may be slow, or down."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    async def of(self, uid: int) -> str:
        """A user's name, or ``uid 1000`` if none is found at once."""
        if uid not in self._known:
            self._known[uid] = f"uid {uid}"
            try:
                async with asyncio.timeout(_NAME_S):
                    self._known[uid] = (await asyncio.to_thread(pwd.getpwuid, uid)).pw_name
            except (KeyError, TimeoutError):
                pass
        return self._known[uid]
