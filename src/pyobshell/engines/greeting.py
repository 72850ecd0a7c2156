"""Whether a server gives a sign of life at its SQL port; nobody logs in."""

from __future__ import annotations

import asyncio

from pyobshell.address import Address
from pyobshell.deadline import Deadline

_HEADER_BYTES = 4  # of the first packet, which the server sends unasked


async def greets(place: Address, deadline: Deadline) -> bool:
    """Whether a server begins to speak to whoever connects; that a kernel accepts is no sign."""
    try:
        async with asyncio.timeout(deadline.remaining()):
            reader, writer = await asyncio.open_connection(*place)
            try:
                await reader.readexactly(_HEADER_BYTES)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    return True
