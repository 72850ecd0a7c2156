"""Ports for several servers on one machine, held until the servers listen on them."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from secrets import SystemRandom

from pyobshell.cli.outcome import CommandError, Exit

# Above what services use by custom, below what kernels give to clients by default.
_RANGE = range(12_000, 32_000)


@contextmanager
def hold(count: int, avoid: Collection[int] = ()) -> Iterator[list[int]]:
    """Ports that nobody has, and nobody else who asks here can get while they are held.

    A server that sets SO_REUSEADDR, as all do, can listen on a port that is held.
    """
    with ExitStack() as sockets:
        ports: list[int] = []
        for port in SystemRandom().sample(_RANGE, len(_RANGE)):
            if len(ports) == count:
                break
            if port not in avoid and _hold(port, sockets):
                ports.append(port)
        if len(ports) < count:
            raise CommandError(Exit.FAILED, f"there are no {count} free ports in {_RANGE}")
        yield sorted(ports)


def _hold(port: int, sockets: ExitStack) -> bool:
    """Hold a port on all addresses of both families; False if any of it is taken."""
    with ExitStack() as held:
        try:
            held.enter_context(_bound(socket.AF_INET, "0.0.0.0", port))  # noqa: S104 - never listens
            if socket.has_dualstack_ipv6():
                held.enter_context(_bound(socket.AF_INET6, "::", port))
        except OSError:
            return False
        sockets.enter_context(held.pop_all())
    return True


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Bound without SO_REUSEADDR, so that it fails if anybody is bound there, even another
        # holder; set afterwards, so that the server for which it is held can be bound as well.
        bound.bind((address, port))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        bound.close()
        raise
    return bound
