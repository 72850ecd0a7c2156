"""Nothing is changed for who has hung up before it was begun.

To an agent that was paused, or busy for long, requests come that were given up long ago: to carry
them out then could undo what was asked for since.
"""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import Receive

_ROUNDS = 3  # of the event loop: one after the data the end is read, one later it is told
_GONE = "http.disconnect"


async def has_hung_up(receive: Receive) -> bool:
    """Whether whoever has sent a request, which was read to its end, is gone as far as is known."""
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)
    listening = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    if listening.done():
        return bool(listening.result()["type"] == _GONE)
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening
    return False
