"""How a client's requests travel: over TCP, plain or in TLS, or over a local socket."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from pathlib import Path

import httpx

from pyobshell.socket_name import short_name

IDLE_S = 30.0  # agents keep a connection longer: it is not closed just when it is used again


def over_tcp(tls: ssl.SSLContext | None) -> httpx.AsyncHTTPTransport:
    """To an agent's address; with ``tls`` nothing is said in plain."""
    return httpx.AsyncHTTPTransport(verify=tls or _no_tls(), limits=_limits())


def over_socket(socket: Path) -> httpx.AsyncHTTPTransport:
    """To an agent of this host; raises OSError if the socket's directory is not there."""
    return _OverSocket(socket)


class _OverSocket(httpx.AsyncHTTPTransport):
    """Goes by a socket's name until it is closed."""

    def __init__(self, socket: Path) -> None:
        self._named = ExitStack()
        name = self._named.enter_context(short_name(socket))
        super().__init__(uds=name, verify=_no_tls(), limits=_limits())

    async def aclose(self) -> None:
        await super().aclose()
        self._named.close()


def _no_tls() -> ssl.SSLContext:
    """For where no TLS is spoken: reading the system's certificates would be in vain."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _limits() -> httpx.Limits:
    return httpx.Limits(keepalive_expiry=IDLE_S)
