"""The address of an agent: IP and port, its text form and its parsing."""

from __future__ import annotations

import ipaddress
from typing import Any, NamedTuple

from pyobshell import errors

DEFAULT_AGENT_PORT = 2886
_LOWEST_PORT, _HIGHEST_PORT = 1025, 65535
_PORT_DIGITS = 5
_NETWORK_BITS = 64  # of IPv6


class Address(NamedTuple):
    """IP (IPv6 without brackets, in canonical form) and port; prints as ``ip:port``."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"

    @property
    def wire(self) -> dict[str, Any]:
        """The form AgentInfo has in the API."""
        return {"ip": self.ip, "port": self.port}

    @classmethod
    def of(cls, ip: str, port: int) -> Address:
        """A checked address; raises ``Common.InvalidIp`` or ``Common.InvalidPort``."""
        try:
            canonical = str(ipaddress.ip_address(ip))
        except ValueError:
            raise errors.INVALID_IP(text=ip) from None
        if "%" in canonical:  # a scope means something on one host alone
            raise errors.INVALID_IP(text=ip)
        if not _LOWEST_PORT <= port <= _HIGHEST_PORT:
            raise errors.INVALID_PORT(text=str(port))
        return cls(canonical, port)

    @classmethod
    def parse(cls, text: str, default_port: int | None = DEFAULT_AGENT_PORT) -> Address:
        """Parse ``ip``, ``ip:port``, ``ipv6`` or ``[ipv6]:port``; without a port it is 2886.

        With ``default_port`` None it must have one. Raises ``Common.InvalidAddress``,
        ``Common.InvalidIp`` or ``Common.InvalidPort``.
        """
        if text.startswith("["):
            ip, bracket, rest = text[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                raise errors.INVALID_ADDRESS(text=text)
            port = rest[1:] if rest else None
        elif text.count(":") == 1:
            ip, port = text.split(":")
        else:
            ip, port = text, None
        if not ip:
            raise errors.INVALID_ADDRESS(text=text)
        if port is None:
            if default_port is None:
                raise errors.INVALID_ADDRESS(text=text)
            return cls.of(ip, default_port)
        return cls.of(ip, parse_port(port))


def network_of(ip: str) -> str:
    """Whose an ip is, as far as it shows: itself, of IPv6 the network of a host.

    Less than that nobody has. IPv4 written as IPv6 is IPv4; what is no ip stays as it is.
    """
    if ":" not in ip:
        return ip
    try:
        whole = ipaddress.IPv6Address(ip.partition("%")[0])
    except ValueError:
        return ip
    if whole.ipv4_mapped is not None:
        return str(whole.ipv4_mapped)
    return str(ipaddress.ip_network((whole, _NETWORK_BITS), strict=False))


def parse_port(text: str) -> int:
    """A port from its digits; raises ``Common.InvalidPort`` unless it is 1025 to 65535."""
    if not (text.isascii() and text.isdigit() and len(text) <= _PORT_DIGITS):
        raise errors.INVALID_PORT(text=text)
    port = int(text)
    if not _LOWEST_PORT <= port <= _HIGHEST_PORT:
        raise errors.INVALID_PORT(text=text)
    return port
