"""Nothing is changed for who has hung up before it was begun.

To an agent that was paused, or busy for long, requests come that were given up long ago: to carry
them out then could undo what was asked for since.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.types import Receive

from pyobshell import errors
from pyobshell.security.turns import HUNG_UP

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


@contextlib.asynccontextmanager
async def minding(gone: asyncio.Future[None] | None) -> AsyncIterator[None]:
    """Give the body of this up when whoever asked is ``gone``.

    Raises ``Common.BadRequest`` then, for whoever waits for the same.
    """
    task, hung_up, over = asyncio.current_task(), False, False
    if gone is None or task is None:
        yield
        return
    before = task.cancelling()

    def give_up(_: object) -> None:
        nonlocal hung_up
        if not over:  # it may have been on its way when the body ended
            hung_up = True
            task.cancel()

    gone.add_done_callback(give_up)
    try:
        yield
    except asyncio.CancelledError:
        if hung_up and task.uncancel() <= before:
            raise errors.BAD_REQUEST(cause=HUNG_UP) from None
        raise
    finally:
        over = True
        gone.remove_done_callback(give_up)
