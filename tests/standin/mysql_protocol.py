"""MySQL's client/server protocol: packets, the handshake, and the answers of a server."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from standin.errors import SqlError

Cell = str | int | None

COM_QUIT = 0x01
COM_INIT_DB = 0x02
COM_QUERY = 0x03
COM_PING = 0x0E
COM_STMT_PREPARE = 0x16
COM_STMT_EXECUTE = 0x17

LONGEST = 0xFFFFFF
PLUGIN = b"mysql_native_password"
_WITH_DB = 0x8
_COMPRESS = 0x20
_PROTOCOL_41 = 0x200
_SSL = 0x800
_SECURE = 0x8000
_MULTI_STATEMENTS = 0x10000
_PLUGIN_AUTH = 0x80000
_LENENC_AUTH = 0x200000
_SERVER = 0x2 | _WITH_DB | _PROTOCOL_41 | 0x2000 | _SECURE | 0x20000 | _PLUGIN_AUTH | 0x1
_UTF8MB4 = 45
_AUTOCOMMIT = 0x0002
_VARCHAR = 0xFD
_BIGINT = 0x08


class ClosedError(Exception):
    """The other side has closed the connection."""


async def read_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next packet: its sequence number and content."""
    try:
        head = await reader.readexactly(4)
        return head[3], await reader.readexactly(int.from_bytes(head[:3], "little"))
    except (asyncio.IncompleteReadError, OSError) as error:
        raise ClosedError from error


def packet(sequence: int, content: bytes) -> bytes:
    """A packet as it goes over the wire."""
    return len(content).to_bytes(3, "little") + bytes([sequence & 0xFF]) + content


def error_packet(sequence: int, error: SqlError) -> bytes:
    """An error as an answer."""
    text = f"#{error.state}{error.message}".encode()
    return packet(sequence, b"\xff" + error.errno.to_bytes(2, "little") + text)


def greeting_error(error: SqlError) -> bytes:
    """An error in place of the greeting, where no SQL state belongs."""
    return packet(0, b"\xff" + error.errno.to_bytes(2, "little") + error.message.encode())


def ok_packet(sequence: int, affected: int = 0) -> bytes:
    """Success without rows."""
    status = _AUTOCOMMIT.to_bytes(2, "little")
    return packet(sequence, b"\x00" + _length(affected) + b"\x00" + status + b"\x00\x00")


def result_packets(names: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """A result set as the answer to a command."""
    rows = [list(row) for row in rows]
    numeric = [
        bool(rows) and all(isinstance(row[n], int) for row in rows) for n, _ in _count(names)
    ]
    end = b"\xfe\x00\x00" + _AUTOCOMMIT.to_bytes(2, "little")
    contents = [_length(len(names))]
    contents += [_column(name, number) for name, number in zip(names, numeric, strict=True)]
    contents.append(end)
    contents += [b"".join(map(_cell, row)) for row in rows]
    contents.append(end)
    return b"".join(packet(n, content) for n, content in enumerate(contents, 1))


def greeting(connection_id: int, salt: bytes) -> bytes:
    """The first packet of a server."""
    low, high = (_SERVER & 0xFFFF).to_bytes(2, "little"), (_SERVER >> 16).to_bytes(2, "little")
    return packet(
        0,
        b"\x0a5.7.25\x00"
        + connection_id.to_bytes(4, "little")
        + salt[:8]
        + b"\x00"
        + low
        + bytes([_UTF8MB4])
        + _AUTOCOMMIT.to_bytes(2, "little")
        + high
        + bytes([len(salt) + 1])
        + bytes(10)
        + salt[8:]
        + b"\x00"
        + PLUGIN
        + b"\x00",
    )


def new_salt() -> bytes:
    """Twenty bytes of which none is zero."""
    return bytes(byte % 94 + 33 for byte in os.urandom(20))


def plain_greeting(content: bytes) -> bytes:
    """A server's greeting without the offers of encryption and compression."""
    at = content.index(b"\x00", 1) + 1 + 4 + 8 + 1
    flags = int.from_bytes(content[at : at + 2], "little") & ~(_SSL | _COMPRESS)
    return content[:at] + flags.to_bytes(2, "little") + content[at + 2 :]


def salt_of(content: bytes) -> bytes:
    """The salt in a server's greeting."""
    at = content.index(b"\x00", 1) + 1 + 4
    return content[at : at + 8] + content[at + 27 : at + 39]


@dataclass(frozen=True)
class Login:
    """A client's answer to the greeting."""

    flags: int
    head: bytes
    user: str
    auth: bytes
    database: str

    @classmethod
    def parse(cls, content: bytes) -> Login:
        """Read it from a packet's content."""
        flags = int.from_bytes(content[:4], "little")
        end = content.index(b"\x00", 32)
        user = content[32:end].decode()
        length, at = content[end + 1], end + 2
        auth = content[at : at + length]
        database, rest = b"", content[at + length :]
        if flags & _WITH_DB:
            database = rest[: rest.index(b"\x00")]
        return cls(flags, content[4:32], user, auth, database.decode())

    @classmethod
    def of(cls, user: str, password: str, salt: bytes, database: str = "") -> Login:
        """A client's own."""
        flags = _SERVER | _MULTI_STATEMENTS
        head = (LONGEST + 1).to_bytes(4, "little") + bytes([_UTF8MB4]) + bytes(23)
        return cls(flags, head, user, scramble(password, salt), database)

    def as_user(self, user: str) -> Login:
        """The same for another user name; the proof of the password does not depend on it."""
        return replace(self, user=user)

    def content(self) -> bytes:
        """The packet's content."""
        flags = self.flags & ~(_SSL | _COMPRESS | _LENENC_AUTH | _WITH_DB | 0x100000)
        flags |= _PLUGIN_AUTH | _SECURE | (_WITH_DB if self.database else 0)
        database = self.database.encode() + b"\x00" if self.database else b""
        proof = bytes([len(self.auth)]) + self.auth
        name = self.user.encode() + b"\x00"
        return flags.to_bytes(4, "little") + self.head + name + proof + database + PLUGIN + b"\x00"


def scramble(password: str, salt: bytes) -> bytes:
    """The proof of a password, by mysql_native_password."""
    if not password:
        return b""
    once = hashlib.sha1(password.encode()).digest()
    mixed = hashlib.sha1(salt + hashlib.sha1(once).digest()).digest()
    return bytes(a ^ b for a, b in zip(once, mixed, strict=True))


def error_of(content: bytes) -> SqlError:
    """The error in a packet's content."""
    text = content[3:].decode(errors="replace")
    state, message = (text[1:6], text[6:]) if text.startswith("#") else ("HY000", text)
    return SqlError(int.from_bytes(content[1:3], "little"), message, state)


def read_length(content: bytes, at: int) -> tuple[int | None, int]:
    """A length-encoded number (None for NULL), and where what follows it begins."""
    first = content[at]
    if first < 0xFB:
        return first, at + 1
    if first == 0xFB:
        return None, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
    return int.from_bytes(content[at + 1 : at + 1 + size], "little"), at + 1 + size


def _count(names: Sequence[str]) -> Iterable[tuple[int, str]]:
    return enumerate(names)


def _length(number: int) -> bytes:
    if number < 0xFB:
        return bytes([number])
    if number < 1 << 16:
        return b"\xfc" + number.to_bytes(2, "little")
    if number < 1 << 24:
        return b"\xfd" + number.to_bytes(3, "little")
    return b"\xfe" + number.to_bytes(8, "little")


def _text(value: bytes) -> bytes:
    return _length(len(value)) + value


def _cell(value: Cell) -> bytes:
    return b"\xfb" if value is None else _text(str(value).encode())


def _column(name: str, number: bool) -> bytes:
    kind, charset, size = (_BIGINT, 63, 20) if number else (_VARCHAR, _UTF8MB4, 65535)
    names = _text(b"def") + _text(b"") * 3 + _text(name.encode()) * 2
    fixed = charset.to_bytes(2, "little") + size.to_bytes(4, "little") + bytes([kind])
    return names + b"\x0c" + fixed + b"\x00\x00" + b"\x00" + b"\x00\x00"
