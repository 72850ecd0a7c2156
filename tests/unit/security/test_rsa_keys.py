from __future__ import annotations

import base64
import contextlib
from typing import Any

import pytest
from Crypto.Cipher import PKCS1_OAEP, PKCS1_v1_5
from Crypto.Hash import SHA256
from Crypto.PublicKey import ECC, RSA
from Crypto.Signature import pss
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pyobshell.security.keys import PrivateKey, PublicKey

MODULUS = 256


def test_the_public_text_is_one_line_of_pkcs1_as_the_published_table_says(
    own_key: PrivateKey, golden: dict[str, Any]
) -> None:
    assert own_key.public_text == golden["public_text"]
    assert len(own_key.public_text) == 360
    assert own_key.public_text.startswith("MIIBCgKC")
    assert own_key.public_text is own_key.public_text


def test_a_public_key_survives_its_text(own_key: PrivateKey, other_key: PrivateKey) -> None:
    read = PublicKey.from_text(own_key.public_text)
    assert read == own_key.public
    assert hash(read) == hash(own_key.public)
    assert read != other_key.public
    assert read != own_key.public_text


def test_keys_of_1024_bits_of_older_agents_can_be_used() -> None:
    key = PrivateKey.generate(1024)
    assert len(key.public_text) == 188
    assert key.decrypt_sections(key.public.encrypt_sections(b"x" * 118)) == b"x" * 118
    assert key.public.verify(key.sign(b"signed"), b"signed")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not base64!",
        "é",
        base64.b64encode(b"not DER").decode(),
        base64.b64encode(
            ECC.generate(curve="P-256").public_key().export_key(format="DER")
        ).decode(),
    ],
)
def test_what_is_no_rsa_public_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an RSA public key"):
        PublicKey.from_text(text)


@pytest.mark.parametrize("passphrase", [None, "päss 密"])
def test_a_private_key_survives_its_pem(own_key: PrivateKey, passphrase: str | None) -> None:
    pem = own_key.to_pem(passphrase)
    assert ("ENCRYPTED" in pem) == (passphrase is not None)
    assert PrivateKey.from_pem(pem, passphrase).public == own_key.public


@pytest.mark.parametrize(("written", "read"), [("right", "wrong"), ("right", None), (None, "any")])
def test_a_pem_needs_its_own_passphrase(
    own_key: PrivateKey, written: str | None, read: str | None
) -> None:
    pem = own_key.to_pem(written)
    with pytest.raises(ValueError, match="with this passphrase"):
        PrivateKey.from_pem(pem, read)


def test_what_is_no_rsa_private_key_is_refused() -> None:
    other_kind = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    with pytest.raises(ValueError, match="not an RSA private key"):
        PrivateKey.from_pem(other_kind.decode())
    with pytest.raises(ValueError, match="no RSA private key"):
        PrivateKey.from_pem("nonsense")


def test_a_private_key_of_which_one_bit_is_another_is_refused(own_key: PrivateKey) -> None:
    first, *lines, last = own_key.to_pem().splitlines()
    whole = base64.b64decode("".join(lines))
    for bit in range(0, len(whole) * 8, 61):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        pem = "\n".join([first, base64.b64encode(damaged).decode(), last, ""])
        with pytest.raises(ValueError, match=r"damaged|no RSA private key"):
            PrivateKey.from_pem(pem)


def test_a_private_key_does_not_show_itself(own_key: PrivateKey) -> None:
    assert own_key.to_pem()[60:100] not in repr(own_key) + str(own_key)


@settings(deadline=None)
@given(plaintext=st.binary(max_size=600), chunk=st.integers(1, MODULUS - 11) | st.none())
def test_sections_of_any_size_are_joined_again(
    own_key: PrivateKey, plaintext: bytes, chunk: int | None
) -> None:
    if chunk is not None:
        plaintext = plaintext[: 6 * chunk]
    sealed = own_key.public.encrypt_sections(plaintext, chunk)
    sections = max(1, -(-len(plaintext) // (chunk or MODULUS - 11)))
    assert len(sealed) == sections * MODULUS
    assert own_key.decrypt_sections(sealed) == plaintext


@pytest.mark.parametrize("chunk", [-1, 0, MODULUS - 10])
def test_a_section_is_never_larger_than_the_key_allows(own_key: PrivateKey, chunk: int) -> None:
    with pytest.raises(ValueError, match="1 to 245 bytes"):
        own_key.public.encrypt_sections(b"x", chunk)


def test_another_implementation_reads_our_sections(
    own_key: PrivateKey, golden: dict[str, Any]
) -> None:
    cipher = PKCS1_v1_5.new(RSA.import_key(golden["private_pem"]))
    sealed = own_key.public.encrypt_sections(b"x" * 100, 53)
    read = [cipher.decrypt(sealed[at : at + MODULUS], None) for at in (0, MODULUS)]
    assert read == [b"x" * 53, b"x" * 47]


def test_we_read_what_another_implementation_made(
    own_key: PrivateKey, golden: dict[str, Any]
) -> None:
    assert own_key.decrypt_sections(base64.b64decode(golden["sealed_nothing"])) == b""
    sealed = base64.b64decode(golden["sealed_root_password"])
    assert own_key.decrypt_sections(sealed).decode() == golden["password"]
    assert own_key.decrypt_oaep(base64.b64decode(golden["oaep"])) == b"wrapped by pycryptodome"
    signature = base64.b64decode(golden["signature"])
    assert own_key.public.verify(signature, b"signed by pycryptodome")


def test_another_implementation_accepts_our_signature_and_opens_our_oaep(
    own_key: PrivateKey, golden: dict[str, Any]
) -> None:
    key = RSA.import_key(golden["private_pem"])
    pss.new(key).verify(SHA256.new(b"signed"), own_key.sign(b"signed"))
    assert PKCS1_OAEP.new(key, SHA256).decrypt(own_key.public.encrypt_oaep(b"key")) == b"key"


@pytest.mark.parametrize(
    "ciphertext", [b"", b"x", b"x" * (MODULUS - 1), b"x" * (MODULUS + 1), b"\xff" * MODULUS]
)
def test_every_failure_to_decrypt_has_one_neutral_text(
    own_key: PrivateKey, ciphertext: bytes
) -> None:
    for decrypt in (own_key.decrypt_sections, own_key.decrypt_oaep):
        with pytest.raises(ValueError, match=r"^cannot be decrypted$") as failure:
            decrypt(ciphertext)
        assert failure.value.__cause__ is None


@settings(deadline=None)
@given(at=st.integers(0, 2 * MODULUS - 1), flip=st.integers(1, 255))
def test_damaged_sections_never_yield_the_plaintext(
    own_key: PrivateKey, at: int, flip: int
) -> None:
    plaintext = bytes(range(256)) + bytes(range(100))
    sealed = bytearray(own_key.public.encrypt_sections(plaintext))
    sealed[at] ^= flip
    with contextlib.suppress(ValueError):
        assert own_key.decrypt_sections(bytes(sealed)) != plaintext


@settings(deadline=None)
@given(signed=st.binary(max_size=200), at=st.integers(0, MODULUS - 1), flip=st.integers(1, 255))
def test_only_the_genuine_signature_over_the_very_bytes_verifies(
    own_key: PrivateKey, signed: bytes, at: int, flip: int
) -> None:
    signature = own_key.sign(signed)
    altered = bytearray(signature)
    altered[at] ^= flip
    assert own_key.public.verify(signature, signed)
    assert not own_key.public.verify(bytes(altered), signed)
    assert not own_key.public.verify(signature, signed + b"x")
    assert not own_key.public.verify(b"", signed)


def test_a_signature_of_another_key_does_not_verify(
    own_key: PrivateKey, other_key: PrivateKey
) -> None:
    assert not own_key.public.verify(other_key.sign(b"signed"), b"signed")


def test_more_than_one_oaep_block_is_refused(own_key: PrivateKey) -> None:
    assert len(own_key.public.encrypt_oaep(b"x" * 190)) == MODULUS
    with pytest.raises(ValueError):  # noqa: PT011 - the text is the library's
        own_key.public.encrypt_oaep(b"x" * 191)
