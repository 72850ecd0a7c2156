"""By which road another agent is reached: over TLS, if this agent has a certificate, or in plain.

A road is found when a session is opened, and is good as long as the session: an agent that was
restarted, perhaps with another way to be spoken to, has lost its sessions.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
import structlog
from aiohappyeyeballs import AddrInfoType

from pyobshell.address import Address
from pyobshell.security.tls import Tls, reason_of

T = TypeVar("T")
_TRIES_AGAIN = 1  # of a SYN, after a second: the kernel gives up as soon as we do without TLS
# What OpenSSL makes of an answer in plain HTTP, by its releases.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_log = structlog.get_logger(__name__)


class NoTlsError(OSError):
    """Another agent would have to be spoken to in plain."""


class Roads:
    """Finds roads to other agents."""

    def __init__(self, tls: Tls | None) -> None:
        self._tls = tls

    @property
    def context(self) -> ssl.SSLContext | bool:
        """What ``https`` is spoken with; it is another one after certificates were renewed."""
        return True if self._tls is None else self._tls.calling

    async def find(self, peer: Address, ask: Callable[[str], Awaitable[T]]) -> T:
        """Ask by the best road, ``https`` or ``http``; raises what asking raises.

        Plain HTTP is for agents without TLS, and never if this one requires it. An agent whose
        certificate is not accepted is not asked again in another way.
        """
        if self._tls is None:
            return await ask("http")
        try:
            return await ask("https")
        except aiohttp.ClientConnectorSSLError as error:
            found = error.os_error
            if not (isinstance(found, ssl.SSLError) and found.reason in _NOT_TLS):
                raise
            if self._tls.required:
                raise NoTlsError(f"{peer} speaks no TLS, and this agent requires it") from error
        _log.warning("an agent speaks no TLS", action="peer.plain", agent=str(peer))
        return await ask("http")

    def a_socket(self, address: AddrInfoType) -> socket.socket:
        """A socket to connect to an agent with.

        A host that is lost is to be noticed as soon as without TLS, whose handshake may take as
        long as a request: the other agent may be paused.
        """
        family, kind, protocol = address[:3]
        made = socket.socket(family, kind, protocol)
        if self._tls is not None:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, _TRIES_AGAIN)
        return made


def why(error: Exception) -> str:
    """Why an agent could not be asked, in words; empty if nothing is known but the kind."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not accepted: {reason_of(error.certificate_error)}"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"no TLS can be agreed upon: {reason_of(error.os_error)}"
    if isinstance(error, aiohttp.ClientConnectorError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error)
