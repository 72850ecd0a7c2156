"""HTTP on the agent's port, where anybody may knock: what a connection may cost is bounded.

A connection belongs to a stranger until a request on it was let in. Strangers have so many
connections together, and so many from one address; one more takes the place of one on which nothing
is asked, or of one of whoever has most. A request must have come whole within some seconds, and its
head be of some size; what it is answered must be read in some time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from starlette.types import Scope

from pyobshell.address import network_of
from pyobshell.api.strangers import Strangers
from pyobshell.api.strict_http import StrictHttp
from pyobshell.security.turns import Sender, Standing

LARGEST_HEAD: Final = 64 * 1024
LARGEST_TARGET: Final = 8 * 1024
MOST_HEADERS: Final = 100
REQUEST_S: Final = 20.0
"""How long a request may take to come, its body included."""

UNREAD_S: Final = 30.0
"""How long what is answered may wait to be read; to a stranger, from when it first has to."""

_FAREWELL_S = 5.0  # for what was said last to be read
_PROVEN, _SENDER = "proven", "sender"


class NetworkHttp(StrictHttp):
    """One connection."""

    def __init__(self, strangers: Strangers, **given: Any) -> None:
        super().__init__(**given)
        self._strangers = strangers
        self._head_bytes: int | None = 0  # of a request whose head is not complete
        self._told_bytes = 0  # of what its head says
        self._told_headers = 0
        self._due: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._is_strangers = True
        self._dropped = False
        self._gone: asyncio.Future[None]
        self._sender: Sender
        self.address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of a stream
        """Let it in, or not."""
        super().connection_made(transport)
        self.address = network_of(self.client[0]) if self.client else ""
        self._gone = self.loop.create_future()
        self._sender = Sender(self.address, self._gone)
        self.app_state = {**self.app_state, _PROVEN: self._proven, _SENDER: self._sender}
        if self._strangers.enter(self):
            self._expect()
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no longer."""
        self._strangers.leave(self)
        self._gone.set_result(None)
        self._expect_nothing()
        self._is_read()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Take more of a request."""
        between_requests = self._in_head and self._head_bytes is None
        if self._dropped or (between_requests and not data.strip(b"\r\n")):
            return  # empty lines ask for nothing, so they keep no connection open
        super().data_received(data)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > LARGEST_HEAD:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins to come; not before the last one was answered, which no client does."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # what it answers is for nobody
            raise ValueError("one request at a time")
        super().on_message_begin()
        self._head_bytes = self._told_bytes = self._told_headers = 0
        if self._due is None:
            self._expect()

    def on_url(self, url: bytes) -> None:
        """A part of what it asks for has come."""
        self._told_bytes += len(url)
        if self._told_bytes > LARGEST_TARGET:
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG)
            raise ValueError("the target is too long")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come."""
        self._told_bytes += len(name) + len(value)
        self._told_headers += 1
        if self._told_bytes > LARGEST_HEAD or self._told_headers > MOST_HEADERS:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            raise ValueError("the head is too large")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head has come."""
        self._head_bytes = None
        self._strangers.ask(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it has come."""
        self._expect_nothing()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It was answered."""
        self._strangers.rest(self)
        if self.transport.is_closing():
            self._must_be_read()
        elif not self.flow.write_paused:
            self._is_read()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Too much of an answer is not read yet."""
        self._must_be_read()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Go on with an answer; a stranger has not longer for all of it who reads it in drops."""
        if not self._is_strangers or self.cycle is None or self.cycle.response_complete:
            self._is_read()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """End it with a word about what cannot be read."""
        if self._dropped:
            return  # it was told already
        super().send_400_response(msg)
        self._must_be_read()

    def drop(self) -> None:
        """End it, for somebody else."""
        self._dropped = True
        self._strangers.leave(self)
        self.timeout_keep_alive_handler()

    def timeout_keep_alive_handler(self) -> None:
        """End it when nothing is asked any more, also if the last answer is not read."""
        self.transport.close()
        self.loop.call_later(_FAREWELL_S, self.transport.abort)

    def _proven(self) -> None:
        self._is_strangers = False
        self._sender.standing = Standing.LET_IN
        self._strangers.leave(self)

    def _must_be_read(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _expect(self) -> None:
        self._due = self.loop.call_later(REQUEST_S, self._refuse, HTTPStatus.REQUEST_TIMEOUT)

    def _expect_nothing(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _refuse(self, status: HTTPStatus) -> None:
        """End it with an answer that needs no envelope: whoever reads it is no client of ours."""
        self._expect_nothing()
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\n"
                "content-length: 0\r\nconnection: close\r\n\r\n".encode()
            )
        self.drop()


def client_of(scope: Scope) -> str:
    """The ip a request comes from; empty on the local socket."""
    return scope["client"][0] if scope.get("client") else ""


def sender_of(scope: Scope) -> Sender:
    """The connection a request comes on; one of its own on the local socket."""
    sender: Sender | None = scope.get("state", {}).get(_SENDER)
    return Sender() if sender is None else sender


def note_proven(scope: Scope) -> None:
    """Note that a request was let in: its connection is no stranger's any more."""
    proven: Callable[[], None] | None = scope.get("state", {}).get(_PROVEN)
    if proven is not None:  # there are no strangers on the local socket
        proven()
