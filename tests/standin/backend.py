"""Connections to the cluster's seekdb, over its unix socket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from standin.mysql_protocol import (
    COM_QUERY,
    LONGEST,
    ClosedError,
    Login,
    error_of,
    packet,
    read_length,
    read_packet,
    salt_of,
)

Row = tuple[str | None, ...]
# Backslashes are always escapes, whatever the server's sql_mode.
_SESSION = "SET time_zone = '+00:00', sql_mode = 'STRICT_TRANS_TABLES'"


async def connect(socket: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a unix socket, however long its path is; raises OSError."""
    directory = os.open(socket.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        short = f"/proc/self/fd/{directory}/{socket.name}"
        return await asyncio.open_unix_connection(short, limit=1 << 20)
    finally:
        os.close(directory)


class Backend:
    """One session with seekdb that the stand-in uses itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    async def login(cls, socket: Path, user: str, password: str) -> Backend:
        """Log in; raises OSError, ClosedError or SqlError."""
        reader, writer = await connect(socket)
        try:
            await authenticate(reader, writer, user, password)
            backend = cls(reader, writer)
            await backend.query(_SESSION)
        except BaseException:
            writer.close()
            raise
        return backend

    async def query(self, statement: str, *values: object) -> list[Row]:
        """Run a statement, its values put in the places marked ``?``; returns its rows."""
        text = statement
        if values:
            parts = statement.split("?")
            rest = zip(values, parts[1:], strict=True)
            text = parts[0] + "".join(literal(value) + part for value, part in rest)
        async with self._one_at_a_time:
            self._writer.write(packet(0, bytes([COM_QUERY]) + text.encode()))
            return await self._answer()

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    async def _answer(self) -> list[Row]:
        first = await self._content()
        if first[0] == 0xFF:
            raise error_of(first)
        if first[0] == 0x00:
            return []
        while not _is_end(await self._content()):
            pass
        rows = []
        while not _is_end(content := await self._content()):
            if content[0] == 0xFF:
                raise error_of(content)
            rows.append(_row(content))
        return rows

    async def _content(self) -> bytes:
        content = b""
        while True:
            _, part = await read_packet(self._reader)
            content += part
            if len(part) < LONGEST:
                return content


async def authenticate(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    user: str,
    password: str,
    database: str = "",
) -> None:
    """Log in on a connection that was just opened; raises ClosedError or SqlError."""
    _, greeted = await read_packet(reader)
    if greeted[0] == 0xFF:
        raise error_of(greeted)
    login = Login.of(user, password, salt_of(greeted), database)
    writer.write(packet(1, login.content()))
    _, verdict = await read_packet(reader)
    if verdict[0] == 0xFF:
        raise error_of(verdict)
    if verdict[0] != 0x00:
        raise ClosedError


def literal(value: object) -> str:
    """A value as SQL text."""
    if value is None:
        return "NULL"
    if isinstance(value, int | float):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace("'", "''").replace("\0", "\\0")
    return f"'{text}'"


def replace(table: str, rows: Sequence[Sequence[object]]) -> str:
    """A statement that puts these rows into a table, in place of those with the same key."""
    lines = ",".join("(" + ",".join(map(literal, row)) + ")" for row in rows)
    return f"REPLACE INTO {table} VALUES {lines}"


def _is_end(content: bytes) -> bool:
    return content[0] == 0xFE and len(content) < 9


def _row(content: bytes) -> Row:
    cells: list[str | None] = []
    at = 0
    while at < len(content):
        size, at = read_length(content, at)
        cells.append(None if size is None else content[at : at + size].decode())
        at += size or 0
    return tuple(cells)
