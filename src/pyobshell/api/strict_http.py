"""HTTP as both doors of an agent read it: a request means one thing, or it is refused."""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_VERSIONS: Final = ("1.0", "1.1")


class StrictHttp(HttpToolsProtocol):
    """One connection; what its parser refuses is answered with 400, and the connection closed."""

    _in_head = True

    def on_message_begin(self) -> None:
        """A request begins to come."""
        super().on_message_begin()
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers are none, for what a request asks is settled by its head."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Refuse what is no HTTP/1, or would have what follows be read as something else."""
        self._in_head = False
        if self.parser.get_http_version() not in _VERSIONS or self.parser.should_upgrade():
            raise ValueError("no other protocol is spoken here")
        super().on_headers_complete()
