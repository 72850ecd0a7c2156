"""Sessions between agents: how one opens a session with another, so that both know who speaks.

    caller     make_hello   ──  hello: a session key only the peer can read, signed  ──▶  peer
    peer       accept_hello ◀──  the id of the session, to which the peer added its own half
    caller     PendingSession.confirm(id)

The keys of a session depend on both halves of its id. A recorded hello that is sent again opens
another session, to which no recorded frame fits, so the peer need not remember hellos.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.security.frames import PeerSession
from pyobshell.security.keys import DEFAULT_BITS, PrivateKey, PublicKey

__all__ = ["Hello", "PeerSession", "PendingSession", "Visit", "accept_hello", "make_hello"]

Hello = dict[str, str]
"""JSON-able: ``key`` (the caller's public key), ``wrapped``, ``sealed``, ``signature`` (base64)."""

_LABEL = "pyobshell hello 1"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_HALF_ID_BYTES = 16
_MAX_FIELD_CHARS = 4096
_HALF_ID = re.compile(r"[0-9a-f]{32}")
_KEY = re.compile(r"[0-9a-f]{64}")
_SECONDS = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class PendingSession:
    """The caller's side until the peer has answered the hello."""

    half_id: str
    key: bytes = field(repr=False)

    def confirm(self, session_id: str) -> PeerSession:
        """The session, by the id the peer answered.

        Raises ``Security.Authentication.IncorrectToken`` if it does not extend ``half_id``.
        """
        own_half, _, peer_half = session_id.partition(".")
        if own_half != self.half_id or not _HALF_ID.fullmatch(peer_half):
            raise errors.INCORRECT_TOKEN(cause="it answered the hello with another session")
        return PeerSession(session_id, self.key, initiator=True)


class Visit(NamedTuple):
    """What a hello offers: a session, the address its caller claims, its key and its life."""

    session: PeerSession
    caller: Address
    key: PublicKey
    life: str


def make_hello(
    own: Address,
    own_key: PrivateKey,
    peer: Address,
    peer_public: PublicKey,
    now: float,
    life: str = "",
) -> tuple[PendingSession, Hello]:
    """Offer a session to ``peer``, at ``now`` (Unix seconds), in the life of this agent.

    The hello goes to the peer, whose answer is the argument of ``PendingSession.confirm``.
    """
    pending = PendingSession(os.urandom(_HALF_ID_BYTES).hex(), os.urandom(_KEY_BYTES))
    content = {
        "id": pending.half_id,
        "key": pending.key.hex(),
        "from": str(own),
        "to": str(peer),
        "ts": str(int(now)),
        "life": life,
    }
    wrapping_key, nonce = os.urandom(_KEY_BYTES), os.urandom(_NONCE_BYTES)
    sealed = AESGCM(wrapping_key).encrypt(
        nonce, json.dumps(content).encode(), own_key.public_text.encode()
    )
    hello = {
        "key": own_key.public_text,
        "wrapped": _base64(peer_public.encrypt_oaep(wrapping_key)),
        "sealed": _base64(nonce + sealed),
    }
    hello["signature"] = _base64(own_key.sign(_signed(hello)))
    return pending, hello


def accept_hello(
    own: Address,
    own_key: PrivateKey,
    hello: Mapping[str, object],
    now: float,
    max_age_s: float = 60,
) -> Visit:
    """What a hello offers; its key is the one that has signed it.

    The caller of this function decides whether that key is the member's of that address, and
    answers the session's id. ``now`` is in Unix seconds; the clocks of the agents may differ by
    ``max_age_s`` either way. Raises ``Security.Authentication.IncorrectToken`` on any failure.
    """
    try:
        fields = _fields(hello)
        claimed = PublicKey.from_text(fields["key"])
        if claimed.bits < DEFAULT_BITS:
            raise errors.INCORRECT_TOKEN(cause=f"its key has less than {DEFAULT_BITS} bits")
        if not claimed.verify(
            base64.b64decode(fields["signature"], validate=True), _signed(fields)
        ):
            raise errors.INCORRECT_TOKEN(cause="the signature of its hello is not genuine")
        content = _open(own_key, fields)
        key, caller = bytes.fromhex(content["key"]), _address(content["from"])
    except (ValueError, KeyError, RecursionError, InvalidTag):
        raise errors.INCORRECT_TOKEN(cause="its hello cannot be read") from None
    if content["to"] != str(own):
        raise errors.INCORRECT_TOKEN(cause=f"its hello is not for {own}")
    if abs(now - int(content["ts"])) > max_age_s:
        raise errors.INCORRECT_TOKEN(
            cause=f"its hello is more than {max_age_s:g} s old or early; compare the clocks"
        )
    session_id = f"{content['id']}.{os.urandom(_HALF_ID_BYTES).hex()}"
    session = PeerSession(session_id, key, initiator=False)
    return Visit(session, caller, claimed, content.get("life", ""))


def _fields(hello: Mapping[str, object]) -> dict[str, str]:
    """The four texts of a hello; ``ValueError`` when one is absent or of an unlikely length."""
    fields: dict[str, str] = {}
    for name in ("key", "wrapped", "sealed", "signature"):
        value = hello.get(name)
        if not isinstance(value, str) or len(value) > _MAX_FIELD_CHARS:
            raise ValueError(f"{name} is not a short text")
        fields[name] = value
    return fields


def _signed(fields: Mapping[str, str]) -> bytes:
    """What the caller signs; base64 has no line ends, so the parts cannot run into each other."""
    return "\n".join((_LABEL, fields["key"], fields["wrapped"], fields["sealed"])).encode()


def _open(own_key: PrivateKey, fields: Mapping[str, str]) -> dict[str, str]:
    """The sealed content, checked for its form; bound to the key of the caller."""
    wrapping_key = own_key.decrypt_oaep(base64.b64decode(fields["wrapped"], validate=True))
    sealed = base64.b64decode(fields["sealed"], validate=True)
    plaintext = AESGCM(wrapping_key).decrypt(
        sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], fields["key"].encode()
    )
    content = json.loads(plaintext)
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise ValueError("the content is not an object of texts")
    well_formed = (
        _HALF_ID.fullmatch(content["id"])
        and _SECONDS.fullmatch(content["ts"])
        and _KEY.fullmatch(content["key"])
        and "to" in content
    )
    if not well_formed:
        raise ValueError("the content is malformed")
    return content


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except errors.OBShellError as error:
        raise ValueError("the caller's address is malformed") from error


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
