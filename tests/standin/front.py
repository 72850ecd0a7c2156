"""One client's connection: login, and each statement answered here, by the hub or by seekdb."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Protocol

from standin import alone, sql_text
from standin.backend import authenticate, connect
from standin.errors import SqlError, access_denied, initializing, privilege_needed, timeout
from standin.faults import DropError, FaultFile, die
from standin.link import Link
from standin.mysql_protocol import (
    COM_INIT_DB,
    COM_PING,
    COM_QUERY,
    COM_QUIT,
    COM_STMT_EXECUTE,
    COM_STMT_PREPARE,
    LONGEST,
    ClosedError,
    Login,
    error_packet,
    greeting,
    greeting_error,
    new_salt,
    ok_packet,
    packet,
    plain_greeting,
    read_packet,
)
from standin.rewriting import for_seekdb
from standin.statements import is_cluster_statement, without_leading_comments

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
_CHUNK = 1 << 16
_numbers = itertools.count(1)


class Observer(Protocol):
    """What a front needs of its server."""

    ip: str
    rpc_port: int
    faults: FaultFile

    @property
    def link(self) -> Link | None:
        """The connection to the cluster, once this server belongs to one."""

    async def bootstrap(self, text: str) -> None:
        """Carry out BOOTSTRAP; raises SqlError."""


class Front:
    """The connection."""

    def __init__(self, observer: Observer, reader: Reader, writer: Writer) -> None:
        self._observer = observer
        self._reader = reader
        self._writer = writer
        self._seekdb: tuple[Reader, Writer] | None = None
        self._pump: asyncio.Task[None] | None = None
        self._number = 0
        self._user = "root"
        self._tenant = "sys"
        self._timeout_us = sql_text.DEFAULT_TIMEOUT_US
        self._recyclebin = False
        self._settings: list[bytes] = []
        self._dies = False

    async def serve(self) -> None:
        """Serve the client until it goes."""
        try:
            await self._login()
            while True:
                _, content = await read_packet(self._reader)
                if content[:1] == bytes([COM_QUIT]):
                    return
                await self._command(content)
        except (ClosedError, DropError, OSError):
            pass
        finally:
            self._close()

    def _close(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
        if self._seekdb is not None:
            self._seekdb[1].close()
            if self._observer.link is not None:
                self._observer.link.session_ends(self._number)
        self._writer.close()

    # Login

    async def _login(self) -> None:
        link = self._observer.link
        try:
            await self._observer.faults.at_login()
            if link is not None and not link.state.serving:
                raise initializing()
        except SqlError as error:
            self._writer.write(greeting_error(error))
            await self._writer.drain()
            raise ClosedError from error
        if link is None:
            await self._login_alone()
        else:
            await self._login_at_seekdb(link)

    async def _login_alone(self) -> None:
        self._writer.write(greeting(next(_numbers), new_salt()))
        sequence, content = await read_packet(self._reader)
        login = Login.parse(content)
        if login.user.partition("@")[0] != "root" or login.auth:
            await self._refuse(sequence, access_denied(login.user))
        if login.database:
            unknown = SqlError(1049, f"Unknown database '{login.database}'", "42000")
            await self._refuse(sequence, unknown)
        self._writer.write(ok_packet(sequence + 1))

    async def _login_at_seekdb(self, link: Link) -> None:
        """seekdb's own handshake, so that it alone knows the passwords."""
        reader, writer = self._seekdb = await connect(link.socket)
        _, greeted = await read_packet(reader)
        self._begin_session(link, greeted)
        self._writer.write(packet(0, plain_greeting(greeted)))
        sequence, content = await read_packet(self._reader)
        login = Login.parse(content)
        user, _, place = login.user.partition("@")
        self._tenant = place.partition("#")[0] or "sys"
        if self._tenant not in link.state.tenants:
            await self._refuse(sequence, access_denied(login.user))
        link.session_begins(self._number, self._tenant)
        if user.upper() == "SYS":
            user = "root"  # who is so called in a tenant of Oracle's mode
        self._user = user
        writer.write(packet(sequence, login.as_user(user).content()))
        while True:
            sequence, content = await read_packet(reader)
            self._writer.write(packet(sequence, content))
            if content[0] == 0xFF:
                raise ClosedError
            if content[0] == 0x00:
                break
            sequence, content = await read_packet(self._reader)
            writer.write(packet(sequence, content))
        self._pump = asyncio.create_task(self._relay(reader))

    def _begin_session(self, link: Link, greeted: bytes) -> None:
        at = greeted.index(b"\x00", 1) + 1
        self._number = int.from_bytes(greeted[at : at + 4], "little")
        link.session_begins(self._number, self._tenant)

    async def _attach(self, link: Link) -> None:
        """Go on at seekdb with a session that was begun before there was a cluster."""
        self._seekdb = reader, writer = await connect(link.socket)
        try:
            await authenticate(reader, writer, "root", "")
        except SqlError as error:
            raise ClosedError from error
        for setting in self._settings:
            writer.write(packet(0, setting))
            await read_packet(reader)
        self._pump = asyncio.create_task(self._relay(reader))

    async def _refuse(self, sequence: int, error: SqlError) -> None:
        self._writer.write(error_packet(sequence + 1, error))
        await self._writer.drain()
        raise ClosedError

    async def _relay(self, reader: Reader) -> None:
        """Pass on all that seekdb says."""
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._dies:
                    die()
                self._writer.write(data)
                await self._writer.drain()
        self._writer.close()

    # Statements

    async def _command(self, content: bytes) -> None:
        if len(content) == LONGEST:
            await self._pass_long(content)
        elif content[0] in (COM_QUERY, COM_STMT_PREPARE):
            try:
                await self._statement(content)
            except SqlError as error:
                self._writer.write(error_packet(1, error))
        elif self._seekdb is not None:
            await self._pass(content)
        elif content[0] == COM_PING:
            self._writer.write(ok_packet(1))
        elif content[0] == COM_INIT_DB:
            self._writer.write(error_packet(1, alone.no_tables()))
        else:
            self._writer.write(error_packet(1, SqlError(1047, "Unknown command", "08S01")))
        await self._writer.drain()

    async def _pass(self, content: bytes) -> None:
        """A command without text; what a prepared statement needs is not looked at."""
        assert self._seekdb is not None
        link = self._observer.link
        try:
            if content[0] == COM_STMT_EXECUTE and link is not None:
                await self._wait_for_leader(link, "")
        except SqlError as error:
            self._writer.write(error_packet(1, error))
        else:
            self._seekdb[1].write(packet(0, content))

    async def _pass_long(self, content: bytes) -> None:
        """A statement of 16 MiB and more: nothing for us."""
        if self._seekdb is None:
            raise ClosedError
        sequence = 0
        while True:
            self._seekdb[1].write(packet(sequence, content))
            if len(content) < LONGEST:
                return
            sequence, content = await read_packet(self._reader)

    async def _statement(self, content: bytes) -> None:
        text = content[1:].decode(errors="surrogateescape")
        link = self._observer.link
        if content[0] == COM_STMT_PREPARE and (link is None or is_cluster_statement(text)):
            raise SqlError(1295, "This command is not supported in the prepared statement protocol")
        await self._observer.faults.at_statement(text)
        self._check_client()
        self._dies = self._observer.faults.dies_after(text)
        if sql_text.is_set(text):
            self._timeout_us = sql_text.new_timeout(text) or self._timeout_us
            recyclebin = sql_text.new_recyclebin(text)
            self._recyclebin = self._recyclebin if recyclebin is None else recyclebin
        if without_leading_comments(text)[:40].upper().split()[2:3] == ["BOOTSTRAP"]:
            await self._observer.bootstrap(text)
            self._done()
        elif link is None:
            if sql_text.is_set(text):
                self._settings.append(content)
            self._writer.write(alone.answer(text))
        else:
            await self._in_cluster(link, content[:1], text)

    async def _in_cluster(self, link: Link, command: bytes, text: str) -> None:
        if sql_text.needs_tables(text):
            await self._wait_for_leader(link, text)
            self._check_client()
        if is_cluster_statement(text):
            if self._user != "root":
                raise privilege_needed()
            await link.ask({"do": "statement", "text": text, "recyclebin": self._recyclebin})
            self._done()
            return
        if self._seekdb is None:
            await self._attach(link)
        assert self._seekdb is not None
        if sql_text.shows_sessions(text):
            await link.ask({"do": "sessions"})
        text = for_seekdb(text, self._observer.ip, self._observer.rpc_port)
        content = command + text.encode(errors="surrogateescape")
        self._seekdb[1].write(packet(0, content))
        await self._seekdb[1].drain()

    async def _wait_for_leader(self, link: Link, text: str) -> None:
        """Without a leader nothing that needs a table gets done until the query timeout."""
        if link.state.serving and not link.state.stops(self._tenant):
            return
        limit = sql_text.timeout_of(text, self._timeout_us)
        try:
            async with asyncio.timeout(limit / 1_000_000):
                await link.until(lambda state: state.serving and not state.stops(self._tenant))
        except TimeoutError as error:
            raise timeout(limit) from error

    def _check_client(self) -> None:
        """After a wait: a statement of a client that has gone has no effect."""
        if self._reader.at_eof():
            raise ClosedError

    def _done(self) -> None:
        if self._dies:
            die()
        self._writer.write(ok_packet(1))
