"""Reads the bodies of requests, up to a size."""

from __future__ import annotations

from starlette.types import Receive

from pyobshell import errors


async def read_body(receive: Receive, most: int) -> bytes:
    """A whole body; raises ``Common.BadRequest`` for one of more than ``most`` bytes."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            break
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > most:
            raise errors.BAD_REQUEST(cause=f"the body exceeds {most} bytes")
        if not message.get("more_body"):
            break
    return b"".join(chunks)
