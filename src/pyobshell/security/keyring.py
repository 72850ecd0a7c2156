"""An agent's own key, and how it came to take the place of those before it.

Each key that is given up signs its successor. Whoever knows one of an agent's earlier keys can so
learn the present one, also if it was down when the key was changed; the earlier keys themselves
are kept nowhere.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from typing import Final

from pydantic import TypeAdapter, ValidationError

from pyobshell.security.keys import DEFAULT_BITS, PrivateKey, PublicKey
from pyobshell.wire import KeySuccession

MOST_KEPT: Final = 5
"""So many of the last successions are kept: who has missed more must learn the key elsewhere."""

_LABEL = "pyobshell succession 1"
_END = "-----END PRIVATE KEY-----\n"
_LONGEST_TEXT = 16 * 1024


class Succession(KeySuccession):
    """As others are told of it, and can check it."""

    @property
    def is_genuine(self) -> bool:
        """Whether the old key has signed it, for a key that is long enough."""
        try:
            signature = base64.b64decode(self.signature, validate=True)
            long_enough = PublicKey.from_text(self.new).bits >= DEFAULT_BITS
            old = PublicKey.from_text(self.old)
        except (ValueError, binascii.Error):
            return False
        return long_enough and old.verify(signature, _signed(self.old, self.new))


_SUCCESSIONS = TypeAdapter(tuple[Succession, ...])


def read_successions(text: object) -> tuple[Succession, ...]:
    """Successions as another agent sends them (JSON); none if it is anything else."""
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        return ()
    try:
        return _SUCCESSIONS.validate_json(text)[:MOST_KEPT]
    except ValidationError:
        return ()


def write_successions(successions: Iterable[Succession]) -> str:
    """What ``read_successions`` reads."""
    return _SUCCESSIONS.dump_json(tuple(successions)).decode()


def has_succeeded(known: str, claimed: str, successions: Iterable[Succession]) -> bool:
    """Whether successions lead from the key that is known to the one that is claimed."""
    for one in successions:
        if one.old == known != claimed and one.is_genuine:
            known = one.new
    return known == claimed


def life_of(public_key: str) -> str:
    """What tells a life of an agent from the one before, by its first key: rebuilt, it has another.

    A rebuilt agent numbers its tasks anew; one whose key is changed goes on.
    """
    return hashlib.sha256(public_key.encode()).hexdigest()[:16]


class Keyring:
    """The key of an agent, which may be replaced while the agent runs; used from the event loop."""

    def __init__(
        self, key: PrivateKey, life: str | None = None, successions: Iterable[Succession] = ()
    ) -> None:
        self.key = key
        self.life = life_of(key.public_text) if life is None else life
        self.successions = tuple(successions)
        self.changing = asyncio.Lock()

    @classmethod
    def from_text(cls, text: str) -> Keyring:
        """Read what ``to_text`` wrote, or a key alone; raises ``ValueError``."""
        pem, end, rest = text.partition(_END)
        key = PrivateKey.from_pem(pem + end)
        if not rest.strip():
            return cls(key)
        try:
            content = json.loads(rest)
            successions = _SUCCESSIONS.validate_python(content["successions"])
            life = str(content["life"])
        except (ValueError, KeyError, TypeError):
            raise ValueError("what follows the key is not as it was written") from None
        if not successions or successions[-1].new != key.public_text:
            raise ValueError("what follows the key is of another key")
        return cls(key, life, successions)

    def to_text(self) -> str:
        """The key (PEM), and after it what is to be known of those before it (JSON)."""
        if not self.successions:
            return self.key.to_pem()
        successions = [one.model_dump() for one in self.successions]
        return self.key.to_pem() + json.dumps({"life": self.life, "successions": successions})

    @property
    def public_text(self) -> str:
        """``PublicKey.text`` of the present key."""
        return self.key.public_text

    def successor(self, bits: int) -> Keyring:
        """The keyring with a new key of so many bits, signed with the present one; takes long."""
        key = PrivateKey.generate(bits)
        old, new = self.public_text, key.public_text
        signature = base64.b64encode(self.key.sign(_signed(old, new))).decode("ascii")
        made = Succession(old=old, new=new, signature=signature)
        return Keyring(key, self.life, (*self.successions, made)[-MOST_KEPT:])

    def become(self, successor: Keyring) -> None:
        """Use the key of a successor from now on; the present one is forgotten."""
        self.key, self.successions = successor.key, successor.successions


def _signed(old: str, new: str) -> bytes:
    """What the old key signs; base64 has no line ends, so the parts cannot run into each other."""
    return "\n".join((_LABEL, old, new)).encode()
