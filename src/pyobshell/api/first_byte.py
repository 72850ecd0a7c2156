"""One port for TLS and for plain HTTP: the first byte of a connection says which of them it is.

The TLS of a connection belongs to it from its first moment, so what bounds the cost of strangers
(``network``) bounds it too: a handshake is part of the first request, and has to come in its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from pyobshell.api.door import Door
from pyobshell.api.network import LARGEST_HEAD, NetworkHttp
from pyobshell.security.tls import Tls, reason_of

_HANDSHAKE = 0x16  # the first byte of every TLS connection, and of no HTTP request
_PIECE = 1 << 16
_log = structlog.get_logger(__name__)


def network_port(door: Door) -> Callable[..., asyncio.Protocol]:
    """What makes the connections on an agent's port; without TLS they are of plain HTTP alone."""
    if door.tls is None:
        return partial(NetworkHttp, door.strangers)
    return partial(FirstByte, door.tls, door)


class FirstByte(asyncio.Protocol):
    """A connection; what is said on it goes to ``NetworkHttp``, opened if it was TLS."""

    def __init__(self, tls: Tls, door: Door, **given: Any) -> None:
        self._tls = tls
        self._refusals = door.refusals
        self._handshakes = door.handshakes
        self._waiting = bytearray()  # what came of a handshake whose turn has not come
        self._http = NetworkHttp(door.strangers, **given)
        self._begun = False
        self._failed = False
        self._unopened = 0  # bytes of TLS since the last that said anything

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of a stream
        """Let it in, before it is known what it speaks."""
        self._line = Line(transport)
        self._http.connection_made(self._line)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell it on."""
        self._failed = True
        self._tls.forget(self._http.shutdown)
        self._http.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Open what came; whoever speaks no proper TLS hears why not, and no more."""
        if self._failed:
            return
        if not self._begun:
            self._begun = True
            if data[0] == _HANDSHAKE:
                self._http.scheme = "https"
                self._line.secure(self._tls.serving)
                self._tls.serve(self._http.shutdown)
            else:
                self._line.leave_plain()
        if self._line.is_shaking_hands:
            if not self._waiting:
                self._handshakes.later(self._http.address, self._step)
            self._waiting += data
            if len(self._waiting) > LARGEST_HEAD:  # its end, and a request that came with it
                self._line.pause_reading()
        else:
            self._take(data)

    def _step(self) -> None:
        """It is the turn of this handshake."""
        data, self._waiting = bytes(self._waiting), bytearray()
        if not (self._failed or self._line.is_closing()):
            self._line.resume_reading()
            self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            opened = self._line.opened(data)
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._unopened = 0 if opened else self._unopened + len(data)
        if opened:
            self._http.data_received(opened)
        elif self._unopened > LARGEST_HEAD:
            self._http.drop()
        if self._line.ended:
            self._line.close()

    def eof_received(self) -> None:
        """Tell it on; the loop closes the connection."""
        self._http.eof_received()

    def pause_writing(self) -> None:
        """Tell it on."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """Tell it on."""
        self._http.resume_writing()

    def _fail(self, error: ssl.SSLError) -> None:
        """Say so, and leave it to the other to close: a reset might overtake the alert.

        If the other does not, the connection is ended when its first request is due. One on which
        requests may be under way is ended at once.
        """
        self._failed = True
        if self._line.agreed:
            self._line.abort()
        else:
            self._line.say_no_more()
        address = self._http.address
        left_out = self._refusals.left_out(address)
        if left_out is not None:
            more = {"left_out": left_out} if left_out else {}
            cause = reason_of(error)
            _log.warning("no TLS", action="tls.refused", client=address, cause=cause, **more)


class Line(asyncio.Transport):
    """The transport of one connection: silent until it is plain, or TLS is agreed upon."""

    def __init__(self, below: asyncio.Transport) -> None:
        super().__init__()
        self._below = below
        self._plain = False
        self._tls: ssl.SSLObject | None = None
        self._has_agreed = False
        self.agreed = False
        """Whether a handshake has succeeded, and nothing has ended it since."""
        self.ended = False
        """Whether the other side has said, within TLS, that it says no more."""

    @property
    def is_shaking_hands(self) -> bool:
        """Whether TLS is not agreed upon yet."""
        return self._tls is not None and not self._has_agreed

    def leave_plain(self) -> None:
        """Carry everything as it is."""
        self._plain = True

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS from here on."""
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)

    def opened(self, data: bytes) -> bytes:
        """What was said by data from the network; raises ``ssl.SSLError`` if it is no good TLS."""
        if self._tls is None:
            return data
        pieces = []
        self._in.write(data)
        try:
            if not self._has_agreed:
                self._tls.do_handshake()
                self.agreed = self._has_agreed = True
            while piece := self._tls.read(_PIECE):
                pieces.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        finally:
            self._flush()
        return b"".join(pieces)

    def say_no_more(self) -> None:
        """End this side alone."""
        with contextlib.suppress(OSError, RuntimeError):
            self._below.write_eof()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Say something, if it is known in which way."""
        if self._plain:
            self._below.write(data)
        elif self._tls is not None and self.agreed and data:
            rest = memoryview(data)
            while rest:
                rest = rest[self._tls.write(rest) :]
            self._flush()

    def close(self) -> None:
        """Say that this is the end, and end it when all is sent."""
        if self._tls is not None and self.agreed:
            self.agreed = False
            with contextlib.suppress(ssl.SSLError):  # nobody waits for the other's farewell
                self._tls.unwrap()
            self._flush()
        self._below.close()

    def abort(self) -> None:
        """End it at once."""
        self._below.abort()

    def is_closing(self) -> bool:
        """Whether it is ending."""
        return self._below.is_closing()

    def pause_reading(self) -> None:
        """Read no more from the network for now."""
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._below.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the connection."""
        return self._below.get_extra_info(name, default)

    def _flush(self) -> None:
        if self._out.pending and not self._below.is_closing():
            self._below.write(self._out.read())
