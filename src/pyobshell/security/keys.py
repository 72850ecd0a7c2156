"""RSA keys: sections of PKCS#1 v1.5 as OBShell's clients use them, OAEP and PSS between agents.

A wrong key or a damaged section need not raise. The library answers bad PKCS#1 v1.5 padding with
bytes that look random (implicit rejection), so that nobody can use the agent as a padding oracle.
Callers judge what comes out by its form.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import cached_property

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

DEFAULT_BITS = 2048
_EXPONENT = 65537
_SECTION_OVERHEAD = 11  # bytes of PKCS#1 v1.5 padding in each section


class PublicKey:
    """The half of a key others may know; equal keys compare equal."""

    def __init__(self, key: rsa.RSAPublicKey) -> None:
        self._key = key

    @classmethod
    def from_text(cls, text: str) -> PublicKey:
        """Read base64 of PKCS#1 ``RSAPublicKey`` DER; raises ``ValueError`` for anything else."""
        try:
            key = serialization.load_der_public_key(base64.b64decode(text, validate=True))
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError("not an RSA public key") from None
        if not isinstance(key, rsa.RSAPublicKey):
            raise ValueError("not an RSA public key")
        return cls(key)

    @property
    def bits(self) -> int:
        """The length of its modulus."""
        return self._key.key_size

    @cached_property
    def text(self) -> str:
        """One line of base64 of the PKCS#1 ``RSAPublicKey`` DER, the form ``/secret`` publishes."""
        der = self._key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
        return base64.b64encode(der).decode("ascii")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def encrypt_sections(self, plaintext: bytes, chunk: int | None = None) -> bytes:
        """Encrypt ``plaintext`` in sections of ``chunk`` bytes, each one modulus long when sealed.

        ``chunk`` is 1 to modulus bytes - 11 and by default the most; the official SDK takes 53.
        Empty plaintext makes one section of nothing. Raises ``ValueError`` for another ``chunk``.
        """
        most = _modulus_bytes(self._key) - _SECTION_OVERHEAD
        size = most if chunk is None else chunk
        if not 1 <= size <= most:
            raise ValueError(f"a section holds 1 to {most} bytes, not {size}")
        starts = range(0, max(len(plaintext), 1), size)
        return b"".join(
            self._key.encrypt(plaintext[at : at + size], padding.PKCS1v15()) for at in starts
        )

    def encrypt_oaep(self, plaintext: bytes) -> bytes:
        """Encrypt at most modulus bytes - 66 with OAEP (SHA-256); ``ValueError`` when longer."""
        return self._key.encrypt(plaintext, _oaep())

    def verify(self, signature: bytes, signed: bytes) -> bool:
        """Whether ``signature`` (PSS, SHA-256) over ``signed`` was made by this key's owner."""
        try:
            self._key.verify(signature, signed, _pss(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """An agent's own key; never shows itself in ``repr()``."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key

    @property
    def section_bytes(self) -> int:
        """How long a section is that is encrypted for this key."""
        return _modulus_bytes(self._key)

    @classmethod
    def generate(cls, bits: int = DEFAULT_BITS) -> PrivateKey:
        """Make a new key; takes a good part of a second at 2048 bits."""
        return cls(rsa.generate_private_key(public_exponent=_EXPONENT, key_size=bits))

    @classmethod
    def from_pem(cls, pem: str, passphrase: str | None = None) -> PrivateKey:
        """Read what ``to_pem`` wrote; ``ValueError`` for no RSA key or another passphrase.

        Damage is found, but who wrote it is trusted not to have made a key out of what is no prime.
        """
        secret = None if passphrase is None else passphrase.encode()
        try:
            key = serialization.load_pem_private_key(
                pem.encode(), secret, unsafe_skip_rsa_key_validation=True
            )
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("no RSA private key can be read with this passphrase") from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError("not an RSA private key")
        if not _fits_together(key.private_numbers()):
            raise ValueError("the RSA private key is damaged")
        return cls(key)

    def to_pem(self, passphrase: str | None = None) -> str:
        """PKCS#8 PEM, encrypted when a (non-empty) passphrase is given."""
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            encryption = serialization.BestAvailableEncryption(passphrase.encode())
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
        return pem.decode("ascii")

    @cached_property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(self._key.public_key())

    @property
    def public_text(self) -> str:
        """``PublicKey.text`` of the public half."""
        return self.public.text

    def sections(self, ciphertext: bytes) -> tuple[bytes, ...]:
        """Its sections, each one modulus long; raises ``ValueError`` unless all of them are."""
        size = self.section_bytes
        if not ciphertext or len(ciphertext) % size:
            raise ValueError("cannot be decrypted")
        return tuple(ciphertext[at : at + size] for at in range(0, len(ciphertext), size))

    def decrypt_sections(self, ciphertext: bytes) -> bytes:
        """Join the plaintexts of all sections; raises as ``decrypt_each``."""
        return b"".join(self.decrypt_each(self.sections(ciphertext)))

    def decrypt_each(self, sections: Iterable[bytes]) -> list[bytes]:
        """The plaintexts of sections.

        Raises ``ValueError`` with the same text whatever is wrong, but cannot notice every
        damage: see the module's docstring.
        """
        try:
            return [self._key.decrypt(section, padding.PKCS1v15()) for section in sections]
        except ValueError:
            raise ValueError("cannot be decrypted") from None

    def decrypt_oaep(self, ciphertext: bytes) -> bytes:
        """Undo ``PublicKey.encrypt_oaep``; raises ``ValueError`` with a neutral text."""
        try:
            return self._key.decrypt(ciphertext, _oaep())
        except ValueError:
            raise ValueError("cannot be decrypted") from None

    def sign(self, signed: bytes) -> bytes:
        """A PSS signature (SHA-256), as long as the modulus."""
        return self._key.sign(signed, _pss(), hashes.SHA256())


def _modulus_bytes(key: rsa.RSAPrivateKey | rsa.RSAPublicKey) -> int:
    return (key.key_size + 7) // 8


def _fits_together(key: rsa.RSAPrivateNumbers) -> bool:
    """Whether the parts of a key (RFC 8017, 3.2) are those of one key.

    Takes a thousandth of the time in which the library asks whether its primes are primes.
    """
    n, e = key.public_numbers.n, key.public_numbers.e
    p, q = key.p, key.q
    return (
        min(p, q) > 1
        and p * q == n
        and e * key.d % (p - 1) == e * key.d % (q - 1) == 1
        and (key.dmp1, key.dmq1) == (key.d % (p - 1), key.d % (q - 1))
        and key.iqmp * q % p == 1
    )


def _oaep() -> padding.OAEP:
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label=None)


def _pss() -> padding.PSS:
    return padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
