"""How a client's requests travel: over TCP, plain or in TLS, or over a local socket."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import httpx

IDLE_S = 30.0  # agents keep a connection longer: it is not closed just when it is used again


def over_tcp(tls: ssl.SSLContext | None) -> httpx.AsyncHTTPTransport:
    """To an agent's address; with ``tls`` nothing is said in plain."""
    return _transport(None, tls)


def over_socket(socket: Path) -> httpx.AsyncHTTPTransport:
    """To an agent of this host."""
    directory = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY) if _too_long(socket) else -1
    path = f"/proc/self/fd/{directory}/{socket.name}" if directory >= 0 else str(socket)
    return _transport(path, None)


def _transport(socket: str | None, tls: ssl.SSLContext | None) -> httpx.AsyncHTTPTransport:
    return httpx.AsyncHTTPTransport(
        uds=socket,
        # Where no TLS is spoken, reading the system's certificates would be in vain.
        verify=tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        limits=httpx.Limits(keepalive_expiry=IDLE_S),
    )


def _too_long(socket: Path) -> bool:
    """Whether a path exceeds the 107 bytes that the name of a socket may have."""
    return len(os.fsencode(socket)) > 107
