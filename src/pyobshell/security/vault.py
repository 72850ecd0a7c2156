"""Secrets at rest: text encrypted with a key that lies in a file only the agent's user can read."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pyobshell.whole_file import sync_directory

_KEY_BYTES = 32
_NONCE_BYTES = 12
_NAMING = b"fingerprint"  # so that nothing the key is used for besides has the same outcome
_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Vault:
    """Seals text for storage, with AES-256-GCM."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._keyed = hashlib.blake2b(key=key, digest_size=32, person=_NAMING)

    @classmethod
    def open(cls, path: Path) -> Vault:
        """The vault whose key is in ``path``; file and directory are made when there are none.

        The key is in its place whole or not at all, also after a crash, and of two agents that
        make it at once both get the same. Raises ``PermissionError`` if others than the owner
        may use the file, ``ValueError`` if no key is in it, ``OSError`` as the system does.
        """
        try:
            return cls(_read_key(path))
        except FileNotFoundError:
            _create_key(path)
            return cls(_read_key(path))

    def seal(self, text: str) -> str:
        """Encrypt ``text``: base64 of 12 bytes nonce, ciphertext, 16 bytes tag."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode("utf-8", "surrogatepass"), None)
        return base64.b64encode(nonce + sealed).decode("ascii")

    def fingerprint(self, text: str) -> bytes:
        """32 bytes by which ``text`` can be told from others, and guessed by nobody else."""
        keyed = self._keyed.copy()
        keyed.update(text.encode("utf-8", "surrogatepass"))
        return keyed.digest()

    def open_text(self, sealed: str) -> str:
        """Decrypt what ``seal`` made; ``ValueError`` if it was altered or sealed elsewhere."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            text = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], None)
        except (ValueError, InvalidTag):
            raise ValueError("the secret cannot be opened with the key of this vault") from None
        return text.decode("utf-8", "surrogatepass")


def _read_key(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if mode & _FOR_OTHERS:
            raise PermissionError(
                f"the vault key {path} may be used by others than its owner "
                f"(mode {stat.S_IMODE(mode):04o}); check who had access, then chmod 600 it"
            )
        key = file.read(_KEY_BYTES + 1)
    if len(key) != _KEY_BYTES:
        raise ValueError(f"{path} is not a vault key: it must have {_KEY_BYTES} bytes")
    return key


def _create_key(path: Path) -> None:
    """Write the key beside its place, then link it there, which never replaces a file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another agent was faster: its key is the one
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    sync_directory(path.parent)
