"""Generic ids: the strings by which DAGs, nodes and sub tasks are known outside their store.

    1 NUMBER                          in the cluster's own store
    2 IPV4(10) PORT(5) NUMBER         in the store of the agent at that address
    3 IPV6(39) PORT(5) NUMBER

All decimal digits, without separators; the layout is OBShell's. Prefixes 4 and 5 are the same as
2 and 3 for tasks of an obproxy.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from pyobshell import errors
from pyobshell.address import Address

_PORT_DIGITS = 5
_LONGEST = 128


@dataclass(frozen=True, slots=True)
class GenericId:
    """A decoded id: ``agent`` is None for a task in the cluster's own store."""

    number: int
    agent: Address | None = None
    obproxy: bool = False

    def __str__(self) -> str:
        if self.agent is None:
            return f"1{self.number}"
        ip = ipaddress.ip_address(self.agent.ip)
        kind, digits = (2, 10) if ip.version == 4 else (3, 39)
        return f"{kind + 2 * self.obproxy}{int(ip):0{digits}d}{self.agent.port:05d}{self.number}"

    @classmethod
    def parse(cls, text: str) -> GenericId:
        """Decode an id; raises ``Task.GenericID.Invalid`` for anything that is not one."""
        invalid = errors.TASK_GENERIC_ID_INVALID(id=text[:_LONGEST])
        if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST):
            raise invalid
        kind, rest = int(text[0]), text[1:]
        if kind == 1:
            return cls(_number(rest, invalid))
        if kind in (2, 4):
            width, bits = 10, 32
        elif kind in (3, 5):
            width, bits = 39, 128
        else:
            raise invalid
        if len(rest) <= width + _PORT_DIGITS:
            raise invalid
        ip = int(rest[:width])
        port = int(rest[width : width + _PORT_DIGITS])
        if ip >= 2**bits or not 0 < port < 65536:
            raise invalid
        ip_type = ipaddress.IPv4Address if bits == 32 else ipaddress.IPv6Address
        number = _number(rest[width + _PORT_DIGITS :], invalid)
        return cls(number, Address(str(ip_type(ip)), port), obproxy=kind > 3)


def _number(digits: str, invalid: errors.OBShellError) -> int:
    if not digits or digits.startswith("0") or int(digits) >= 2**63:
        raise invalid
    return int(digits)
