"""Reads what other agents answer; what answers need not be an agent."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import aiohttp

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.procedures import LENGTH_BYTES, Log
from pyobshell.security.keys import PublicKey
from pyobshell.security.peer import PeerSession

_LARGEST_OPEN_ANSWER = 64 * 1024
_LARGEST_FRAME = 64 * 1024 * 1024
_TOO_LONG = "its answer is too long"
_KEY = "public_key"
_TEXTS = ("identity", "version", "obVersion", _KEY)


async def read_answer(
    stream: aiohttp.StreamReader, session: PeerSession, binding: bytes, log: Log
) -> dict[str, Any]:
    """Read frames until the one that is the answer; lines logged before it go to ``log``.

    Signs of life come as long as the other agent is at work.
    """
    while True:
        try:
            length = int.from_bytes(await stream.readexactly(LENGTH_BYTES))
            if length > _LARGEST_FRAME:
                raise aiohttp.ClientPayloadError(_TOO_LONG)
            frame = await stream.readexactly(length)
        except asyncio.IncompleteReadError as error:
            raise aiohttp.ClientPayloadError("the answer broke off") from error
        content: dict[str, Any] = json.loads(session.open(frame, binding))
        if "line" in content:
            log(content["line"])
        elif "alive" not in content:
            return content


async def read_little(stream: aiohttp.StreamReader) -> bytes:
    """A whole answer that is not sealed; raises ``ClientPayloadError`` for more than it can be."""
    content = b""
    async for some in stream.iter_any():
        content += some
        if len(content) > _LARGEST_OPEN_ANSWER:
            raise aiohttp.ClientPayloadError(_TOO_LONG)
    return content


class _Told(dict[str, Any]):
    """What a peer tells of itself, which need not be an agent: of what is missing, or is not what
    it should be, ``Agent.RPC.RequestFailed`` says so when it is looked at.
    """

    def __init__(self, data: dict[str, Any], peer: Address, path: str) -> None:
        super().__init__({name: one for name, one in data.items() if _is_told(name, one)})
        self._peer, self._path = peer, path

    def __missing__(self, name: str) -> str:
        raise errors.RPC_REQUEST_FAILED(
            agent=self._peer, method=self._path, cause=f"its answer has no {name}"
        )


def _is_told(name: str, value: object) -> bool:
    if name not in _TEXTS:
        return True
    with contextlib.suppress(ValueError):
        return isinstance(value, str) and bool(name != _KEY or PublicKey.from_text(value))
    return False


def data_of(peer: Address, path: str, content: bytes) -> dict[str, Any]:
    """What an envelope carries."""
    try:
        data = json.loads(content)["data"]
    except (ValueError, KeyError, TypeError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise errors.RPC_REQUEST_FAILED(agent=peer, method=path, cause="no data")
    return _Told(data, peer, path)


def refusal_of(status: int, content: bytes) -> str:
    """Why a peer refused, as far as it says."""
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"HTTP {status}"
