"""What servers ask each other on their RPC ports: one line of JSON, one in answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from standin.cluster import split_address
from standin.errors import unreachable

Message = dict[str, Any]
_SECONDS = 5.0


async def ask(address: str, question: Message) -> Message:
    """Ask the server at this address; raises SqlError 4121 if it does not answer."""
    ip, port = split_address(address)
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(ip, port)
            try:
                send(writer, question)
                answer = await receive(reader)
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError) as error:
        raise unreachable(address) from error
    if answer is None:
        raise unreachable(address)
    return answer


def send(writer: asyncio.StreamWriter, message: Message) -> None:
    """Send one message."""
    writer.write(json.dumps(message).encode() + b"\n")


async def receive(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None at the end."""
    try:
        line = await reader.readline()
    except OSError:
        return None
    if not line.endswith(b"\n"):
        return None
    message: Message = json.loads(line)
    return message
