"""Reads the bodies of requests, up to a size."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import Receive

from pyobshell import errors


async def read_body(
    receive: Receive,
    most: int,
    *,
    unasked: int = 0,
    let_in: Callable[[], Awaitable[object]] | None = None,
) -> bytes:
    """A whole body; raises ``Common.BadRequest`` for one of more than ``most`` bytes, or one whose
    end does not come: what came of it may mean something else than the whole.

    More than ``unasked`` are read only once its sender was ``let_in``, which raises if not.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise errors.BAD_REQUEST(cause="the body did not come to its end")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > most:
            raise errors.BAD_REQUEST(cause=f"the body exceeds {most} bytes")
        if let_in is not None and size > unasked:
            await let_in()
            let_in = None
        if not message.get("more_body"):
            break
    return b"".join(chunks)
