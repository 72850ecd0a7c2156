"""OBShell's hybrid encryption of requests: an RSA header that carries the AES key of the body.

    header   base64( RSA sections of JSON {auth, ts, uri, keys} )
    body     base64( AES-128-CBC( PKCS#7( plaintext ) ) ), key and IV from the header's ``keys``

The body is decrypted before the password is checked, so each refusal here says only what a
stranger may know; a wrong padding reads exactly like a body that is not JSON.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from pyobshell import errors
from pyobshell.security.keys import PrivateKey, PublicKey

MAX_HEADER_CHARS = 16 * 1024
UNREADABLE_BODY = "it is not JSON"
"""The cause given for every body that cannot be read, by callers that parse JSON as well."""

_KEY_BYTES = 16
_KEYS_BYTES = 2 * _KEY_BYTES  # AES key, then IV
_BLOCK_BYTES = 16
_SHORTEST_CIPHERTEXT_CHARS = 172  # base64 of one section of a 1024-bit key
# In the text of a JSON: within a string they would have backslashes.
_PASSWORD = re.compile(rb'"(?:auth|password)"\s*:\s*"(?:[^"\\]|\\.)*"', re.IGNORECASE | re.DOTALL)
_TIME = re.compile(rb'"ts"\s*:\s*(?:"[0-9]+"|[0-9]+\s*[,}])', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a header as it was sent, by which it is known again.

    A ``timeless`` one has some of the password, and not the whole time at which that expires: who
    has recorded it could put another time beside it.
    """

    ciphertext: bytes
    timeless: bool = False


@dataclass(frozen=True, slots=True)
class RequestHeader:
    """What a client put into its encrypted header.

    ``auth`` is the password offered, ``ts`` the Unix second of expiry as sent (unchecked text),
    ``uri`` the request target it was made for, ``keys`` the AES key and IV of the body. A header
    of V1 names no target: ``uri`` is empty and ``bound`` false. ``sections`` are what it consisted
    of.
    """

    auth: str = field(repr=False)
    ts: str
    uri: str
    keys: bytes | None = field(default=None, repr=False)
    bound: bool = True
    sections: tuple[Section, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SealedRequest:
    """A request ready to be sent: the value of its OCS header, and its encrypted body if any."""

    header_value: str
    body: bytes | None


def open_header_v2(private_key: PrivateKey, value: str) -> RequestHeader:
    """Decrypt ``X-OCS-Header`` or ``X-OCS-Agent-Header``.

    Keys of the JSON match whatever their case; absent and null are empty. Anything else that
    does not fit raises ``Security.Authentication.Header.DecryptFailed``.
    """
    try:
        fields, sections = _decrypt_fields(private_key, value)
        return RequestHeader(
            auth=_text(fields, "auth"),
            ts=_text(fields, "ts"),
            uri=_text(fields, "uri"),
            keys=_keys(fields),
            sections=sections,
        )
    except (ValueError, RecursionError):
        raise errors.HEADER_DECRYPT_FAILED() from None


def open_header_v1(private_key: PrivateKey, value: str) -> RequestHeader:
    """Decrypt ``X-OCS-Auth``, whose JSON has only ``password`` and an integer ``ts``.

    Raises ``Security.Authentication.Header.DecryptFailed``.
    """
    try:
        fields, sections = _decrypt_fields(private_key, value)
        ts, password = fields.get("ts"), _text(fields, "password")
        if not isinstance(ts, int) or isinstance(ts, bool):
            raise ValueError("ts is not an integer")
        return RequestHeader(password, ts=str(ts), uri="", bound=False, sections=sections)
    except (ValueError, RecursionError):
        raise errors.HEADER_DECRYPT_FAILED() from None


def open_body(keys: bytes | None, body: bytes) -> bytes:
    """Decrypt a body with the ``keys`` of its header; an empty body is no body and stays empty.

    Raises ``Request.Body.Decrypt.AES.KeyAndIv.Invalid`` unless ``keys`` are 32 bytes,
    ``Request.Body.Decrypt.AES.ContentLength.Invalid`` unless the body is base64 of whole blocks,
    ``Common.BindJsonFailed`` with ``UNREADABLE_BODY`` when its padding is wrong.
    """
    if not body:
        return b""
    if keys is None or len(keys) != _KEYS_BYTES:
        raise errors.BODY_KEYS_INVALID()
    decryptor = _aes_cbc(keys).decryptor()
    padded = decryptor.update(_ciphertext(body)) + decryptor.finalize()
    unpadder = PKCS7(_BLOCK_BYTES * 8).unpadder()
    try:
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise errors.BIND_JSON_FAILED(cause=UNREADABLE_BODY) from None


def seal_request(
    public_key: PublicKey,
    *,
    password: str,
    uri: str,
    body: bytes | None,
    lifetime_s: float = 60,
    now: float,
) -> SealedRequest:
    """Encrypt a request for the owner of ``public_key``.

    ``uri`` is the raw request target (path, ``?query`` when there is one), ``now`` in Unix
    seconds. An empty body stays without one. Servers refuse a header value of more than
    ``MAX_HEADER_CHARS``, which about 11,000 bytes of password and target together would need.
    """
    keys = os.urandom(_KEYS_BYTES)
    fields = {
        "auth": password,
        "ts": str(int(now + lifetime_s)),
        "uri": uri,
        "keys": base64.b64encode(keys).decode("ascii"),
    }
    header = public_key.encrypt_sections(json.dumps(fields).encode())
    return SealedRequest(
        header_value=base64.b64encode(header).decode("ascii"),
        body=_seal_body(keys, body) if body else None,
    )


def decrypt_password(private_key: PrivateKey, text: str) -> str:
    """The password in ``text``: RSA sections of an old client if it can be so, else the text.

    A ciphertext made for another key mostly comes back as the text itself. With a chance of about
    1 in 200 it comes back as a few random characters, which no check can tell from a password.
    """
    if len(text) < _SHORTEST_CIPHERTEXT_CHARS:
        return text
    try:
        return private_key.decrypt_sections(base64.b64decode(text, validate=True)).decode() or text
    except ValueError:
        return text


def _decrypt_fields(
    private_key: PrivateKey, value: str
) -> tuple[dict[str, object], tuple[Section, ...]]:
    """The JSON object of a header, its keys in lower case, and its sections.

    ``ValueError`` for anything else, and for keys that come twice: clients cut the JSON anywhere,
    so whoever has the beginning of one could add another target to the password in it.
    """
    if len(value) > MAX_HEADER_CHARS:
        raise ValueError("the header is too long")
    sections = private_key.sections(base64.b64decode(value, validate=True))
    pieces = private_key.decrypt_each(sections)
    fields = json.loads(b"".join(pieces).decode(), object_pairs_hook=_without_repetition)
    if not isinstance(fields, dict):
        raise ValueError("the header is not an object")
    return fields, tuple(map(Section, sections, _timeless(pieces)))


def _timeless(pieces: Sequence[bytes]) -> Iterator[bool]:
    """Which pieces of a header's JSON have some of the password without the whole time.

    Where the password cannot be found it may be in any. A time that comes before it counts for
    nothing: what a stranger sets before the piece can make another word of it.
    """
    whole = b"".join(pieces)
    end = max((found.end() for found in _PASSWORD.finditer(whole)), default=len(whole))
    begin = 0
    for piece in pieces:
        yield begin < end and _TIME.search(piece, end - begin) is None
        begin += len(piece)


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = {name.lower(): content for name, content in pairs}
    if len(fields) < len(pairs):
        raise ValueError("a key comes twice")
    return fields


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")
    value.encode()  # JSON may hold lone surrogates, which nothing downstream can encode
    return value


def _keys(fields: Mapping[str, object]) -> bytes | None:
    if fields.get("keys") is None:
        return None
    return base64.b64decode(_text(fields, "keys"), validate=True)


def _ciphertext(body: bytes) -> bytes:
    """The blocks of an encrypted body; clients may break its base64 into lines."""
    try:
        ciphertext = base64.b64decode(body.translate(None, b"\r\n"), validate=True)
    except ValueError:
        raise errors.BODY_LENGTH_INVALID() from None
    if not ciphertext or len(ciphertext) % _BLOCK_BYTES:
        raise errors.BODY_LENGTH_INVALID()
    return ciphertext


def _seal_body(keys: bytes, body: bytes) -> bytes:
    padder = PKCS7(_BLOCK_BYTES * 8).padder()
    encryptor = _aes_cbc(keys).encryptor()
    padded = padder.update(body) + padder.finalize()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize())


def _aes_cbc(keys: bytes) -> Cipher[modes.CBC]:
    return Cipher(algorithms.AES128(keys[:_KEY_BYTES]), modes.CBC(keys[_KEY_BYTES:]))
