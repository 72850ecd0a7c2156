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
        version, method = self.parser.get_http_version(), self.parser.get_method()
        if version not in _VERSIONS or method == b"CONNECT":
            raise ValueError("no other protocol is spoken here")
        super().on_headers_complete()

    def _should_upgrade(self) -> bool:
        """Nothing is: who offers it, as some clients always do, is answered as any other."""
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """It is nothing to warn of."""
