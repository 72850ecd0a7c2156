"""What two agents say within a session: frames only they can make, each accepted once.

    frame   8 bytes counter (big endian), ciphertext, 16 bytes tag of AES-256-GCM

Each direction has its own key and counter, and the counter is the nonce.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pyobshell import errors

WINDOW: Final = 1024
"""How many frames one may be late by, counted from the newest received."""

_KEY_BYTES = 32
_COUNTER_BYTES = 8
_NONCE_BYTES = 12
_TAG_BYTES = 16


class PeerSession:
    """One side of a session. Used from the event loop only; never shows its keys."""

    def __init__(self, session_id: str, key: bytes, *, initiator: bool) -> None:
        """``session_id`` must be new for each use of ``key``: both make the keys of the frames."""
        self.id = session_id
        outbound, inbound = _directions(initiator)
        self._outbound = AESGCM(_derive(key, session_id, outbound))
        self._inbound = AESGCM(_derive(key, session_id, inbound))
        self._sent = 0
        self._received = _ReplayWindow()

    def seal(self, payload: bytes, aad: bytes) -> bytes:
        """Make the next frame; ``aad`` is not in it, but it opens only with the same."""
        counter = self._sent.to_bytes(_COUNTER_BYTES, "big")
        self._sent += 1
        return counter + self._outbound.encrypt(_nonce(counter), payload, aad)

    def open(self, frame: bytes, aad: bytes) -> bytes:
        """The payload of a frame of the other side, in whatever order frames come.

        Raises ``Security.Authentication.IncorrectToken`` for a frame that is not genuine, was
        opened before, or is ``WINDOW`` or more behind the newest.
        """
        counter, ciphertext = frame[:_COUNTER_BYTES], frame[_COUNTER_BYTES:]
        if len(ciphertext) < _TAG_BYTES:
            raise errors.INCORRECT_TOKEN(cause="the frame is too short")
        number = int.from_bytes(counter, "big")
        if not self._received.admits(number):
            raise errors.INCORRECT_TOKEN(cause="the frame was sent before, or is very late")
        try:
            payload = self._inbound.decrypt(_nonce(counter), ciphertext, aad)
        except InvalidTag:
            raise errors.INCORRECT_TOKEN(cause="the frame is not genuine") from None
        self._received.record(number)
        return payload


class _ReplayWindow:
    """Which of the newest ``WINDOW`` numbers have been seen: bit i stands for newest - i."""

    def __init__(self) -> None:
        self._newest = -1
        self._seen = 0

    def admits(self, number: int) -> bool:
        behind = self._newest - number
        return behind < 0 or (behind < WINDOW and not self._seen >> behind & 1)

    def record(self, number: int) -> None:
        ahead = number - self._newest
        if ahead <= 0:
            self._seen |= 1 << -ahead
            return
        kept = self._seen << ahead if ahead < WINDOW else 0
        self._seen = (kept | 1) & ((1 << WINDOW) - 1)
        self._newest = number


def _directions(initiator: bool) -> tuple[bytes, bytes]:
    """The labels of the outbound and the inbound direction."""
    forth, back = b"pyobshell peer 1 initiator", b"pyobshell peer 1 responder"
    return (forth, back) if initiator else (back, forth)


def _derive(key: bytes, session_id: str, direction: bytes) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=session_id.encode(), info=direction).derive(key)


def _nonce(counter: bytes) -> bytes:
    return counter.rjust(_NONCE_BYTES, b"\0")
