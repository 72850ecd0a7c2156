"""HTTP as both doors of an agent read it: a request means one thing, or it is refused."""

from __future__ import annotations

import re
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_VERSIONS: Final = ("1.0", "1.1")
_OFFER: Final = re.compile(rb"\r\nupgrade(?=:)", re.IGNORECASE)
_NO_OFFER: Final = b"\r\nx-offer"  # as long, so that nothing moves
_END: Final = b"\r\n\r\n"
_CUT: Final = re.compile(rb"\r(\n(\r|u|up|upg|upgr|upgra|upgrad|upgrade)?)?\Z", re.IGNORECASE)


class StrictHttp(HttpToolsProtocol):
    """One connection; what its parser refuses is answered with 400, and the connection closed.

    No other protocol is spoken: who offers one, as some clients always do, is answered as any other
    is. The parser must not know, for it would take the body to be of that protocol.
    """

    _in_head = True  # what comes next is of a head
    _cut = b""  # the end of what came of it, of which the next piece says what it is

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of all that leads back here, lest circles of a flood's connections add up."""
        super().connection_lost(exc)
        self.cycle = self.scope = None  # type: ignore[assignment]  # as before the first request
        self.app_state = {}

    def data_received(self, data: bytes) -> None:
        """Take more of a request."""
        if self._in_head:
            head, end, rest = (self._cut + data).partition(_END)
            cut = None if end else _CUT.search(head)
            head, self._cut = (head, b"") if cut is None else (head[: cut.start()], cut[0])
            data = _OFFER.sub(_NO_OFFER, head) + end + rest
        super().data_received(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers are none, for what a request asks is settled by its head.

        Cookies are nobody's here, and what reads them can be made to take its time.
        """
        if self._in_head and name.lower() != b"cookie":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Refuse what is no HTTP/1, or would have what follows be read as something else."""
        self._in_head = False
        version, method = self.parser.get_http_version(), self.parser.get_method()
        if version not in _VERSIONS or method == b"CONNECT" or self.parser.should_upgrade():
            raise ValueError("no other protocol is spoken here")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of a request has come."""
        self._in_head = True
        super().on_message_complete()
