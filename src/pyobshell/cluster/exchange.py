"""How agents speak with each other over HTTP: paths, headers, what sealed frames are bound to."""

from __future__ import annotations

from typing import Final

RPC_PREFIX: Final = "/rpc/v1/"
SESSION_PATH: Final = RPC_PREFIX + "session"
SESSION_HEADER: Final = "X-Pyobshell-Session"
ANNOUNCEMENT_HEADER: Final = "X-Pyobshell-Announcement"

UNANNOUNCED: Final = 256 * 1024
"""How many bytes a frame may have that was not announced."""


def frame_binding(method: str, path: str) -> bytes:
    """What a sealed frame is bound to besides its session."""
    return f"{method} {path}".encode()


def announcement_binding(binding: bytes) -> bytes:
    """What the announcement of a frame is bound to; in it is the frame's length, in decimal digits.

    Who has seen the id of a session cannot make one, so little is read of what he sends.
    """
    return binding + b" announced"
