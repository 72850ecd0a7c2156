"""TLS as agents and their clients speak it: which versions and ciphers, and with which files.

Only TLS 1.3, and of 1.2 what has forward secrecy and authenticated encryption. Nothing here is for
free: contexts are made where TLS is asked for, and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import structlog

from pyobshell.settings import Settings

WARN_DAYS: Final = 30
"""How long before its end a certificate is spoken of."""

_CIPHERS_OF_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"
_PROTOCOLS = ["http/1.1"]
_A_CERTIFICATE = re.compile(r"-----BEGIN [A-Z0-9 ]*CERTIFICATE-----([^-]*)-----END ")
_FOR_GROUP, _FOR_OTHERS = stat.S_IRWXG, stat.S_IRWXO
_MOST_READINGS = 3
_MOST_ROUNDS = 10  # of a handshake; it takes three
_log = structlog.get_logger(__name__)
_OUTSIDE_ITS_TIME = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


class TlsFileError(Exception):
    """A file cannot be used for TLS; the text names it, ``forbidden`` if only for its mode."""

    def __init__(self, message: str, *, forbidden: bool = False) -> None:
        self.forbidden = forbidden
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is worth telling of a certificate."""

    not_before: datetime
    not_after: datetime
    sha256: str

    def days_left(self, now: datetime) -> float:
        """How many days it is good for yet; negative: it has expired."""
        return (self.not_after - now).total_seconds() / 86400


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read of the files: a certificate, contexts made with it, and who is ``trusted``.

    Those are the certificates (their base64) by which one comes in: of CAs, or of somebody who has
    signed his own.
    """

    certificate: Certificate
    serving: ssl.SSLContext
    calling: ssl.SSLContext
    trusted: frozenset[str]


class Tls:
    """What one agent speaks TLS with: a certificate, and whom it trusts.

    Without a CA of theirs it does not judge the certificates of other agents: they prove who they
    are by their own keys, and what they say is sealed, within TLS as without.

    ``required``: plain HTTP is refused, and no other agent is spoken to in plain.
    """

    def __init__(self, settings: Settings, *, quiet: bool = False) -> None:
        """Read the files; raises ``TlsFileError``. What has expired is used nevertheless."""
        self._settings = settings
        self.required = settings.tls == "required"
        self.renewing = asyncio.Lock()
        """Held from ``read`` to ``renew``: else what was read first might be taken up last."""
        self._loaded = self._load(expired_too=True)
        self._told: date | None = None
        self._served: set[Callable[[], None]] = set()
        if not quiet:
            self._tell()

    @classmethod
    def of(cls, settings: Settings) -> Tls | None:
        """That of an agent with these settings; None if it speaks none."""
        return cls(settings) if settings.speaks_tls else None

    @property
    def certificate(self) -> Certificate:
        """The agent's own."""
        return self._loaded.certificate

    @property
    def serving(self) -> ssl.SSLContext:
        """For those who connect to this agent."""
        return self._loaded.serving

    @property
    def calling(self) -> ssl.SSLContext:
        """For other agents, whom this one connects to."""
        return self._loaded.calling

    def serve(self, end: Callable[[], None]) -> None:
        """Note a connection that is served, and how it is ended when nothing is asked on it."""
        self._served.add(end)

    def forget(self, end: Callable[[], None]) -> None:
        """It has ended by itself."""
        self._served.discard(end)

    def renew(self, read: Loaded) -> None:
        """Take up what was ``read`` anew, for connections to come; on the event loop.

        Those that are open go on, unless a CA is trusted no more: it may be whose they came by.
        """
        before, self._loaded = self._loaded, read
        self._tell()
        if not before.trusted <= read.trusted:
            for end in list(self._served):
                end()

    def read(self) -> Loaded:
        """The files as they are now; takes a moment.

        Raises ``TlsFileError`` if they cannot be used, no other agent with the same ones would
        accept the certificate, or they change again and again meanwhile.
        """
        for _ in range(_MOST_READINGS):
            before = self._files()
            try:
                loaded = self._load(expired_too=False)
            except TlsFileError:
                if self._files() == before:
                    raise
                continue
            if self._files() == before:
                return loaded
        raise TlsFileError("the files change while they are read; try again")

    def remind(self) -> None:
        """Log, once a day, that the certificate has to be renewed, if it has."""
        until, days = self.certificate.not_after, self.certificate.days_left(now())
        if days < WARN_DAYS and self._told != now().date():
            self._told = now().date()
            words = "the certificate has expired" if days < 0 else "the certificate expires soon"
            _log.warning(words, action="tls.certificate", until=f"{until}")

    def _tell(self) -> None:
        """Log with what is spoken from now on."""
        _log.info("speaks TLS", action="tls.certificate", until=f"{self.certificate.not_after}")
        self._told = None
        self.remind()

    def _files(self) -> list[tuple[int, ...]]:
        """What tells one state of the files from another."""
        declared = self._settings
        files = (declared.tls_cert, declared.tls_key, declared.tls_ca)
        states = [_state(file) for file in files if file is not None]
        return [(one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in states]

    def _load(self, *, expired_too: bool) -> Loaded:
        declared = self._settings
        cert, key, ca = declared.tls_cert, declared.tls_key, declared.tls_ca
        assert cert is not None  # noqa: S101 - settings that speak TLS have both
        assert key is not None  # noqa: S101
        certificate = read_certificate(cert)
        serving = _context(ssl.PROTOCOL_TLS_SERVER)
        serving.num_tickets = 0  # nobody resumes; and whom a new CA shuts out stays outside
        serving.options |= ssl.OP_NO_TICKET
        _load_own(serving, cert, key)
        trusted = frozenset[str]()
        if ca is None:
            calling = _context(ssl.PROTOCOL_TLS_CLIENT)
            calling.check_hostname = False
            calling.verify_mode = ssl.CERT_NONE  # agents prove who they are within their sessions
            _load_own(calling, cert, key)
        else:
            calling = calling_context(ca, cert, key)
            trusted = _load_ca(serving, ca)
            optional = declared.tls_client_auth == "optional"
            serving.verify_mode = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
        if not expired_too and certificate.not_after < now():
            raise TlsFileError(f"{cert} expired on {certificate.not_after:%F}")
        try:
            _shake_hands(calling, serving, declared.address.ip)
        except ssl.SSLCertVerificationError as error:
            if not (expired_too and error.verify_code in _OUTSIDE_ITS_TIME):
                raise TlsFileError(
                    f"{cert} would be refused by agents that trust {ca}: {error.verify_message}"
                ) from None
        except ssl.SSLError as error:
            raise TlsFileError(f"no TLS can be spoken with {cert}: {reason_of(error)}") from None
        return Loaded(certificate, serving, calling, trusted)


def calling_context(
    ca: Path | None = None, cert: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """For whoever connects: whom it trusts (else the system's CAs), and what it shows, if anything.

    Without ``key`` the key is in ``cert`` as well. Raises ``TlsFileError``.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    if ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load_ca(context, ca)
    if cert is not None:
        _load_own(context, cert, key or cert)
    return context


def read_certificate(file: Path) -> Certificate:
    """What the first certificate of a PEM file says; raises ``TlsFileError``."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        found = x509.load_pem_x509_certificate(_read(file))
        told = (found.not_valid_before_utc, found.not_valid_after_utc)
    except (ValueError, x509.InvalidVersion):
        raise TlsFileError(f"{file} holds no certificate in PEM") from None
    return Certificate(*told, found.fingerprint(hashes.SHA256()).hex())


def now() -> datetime:
    """The moment that certificates are compared with."""
    return datetime.now(UTC)


def reason_of(error: Exception) -> str:
    """What OpenSSL says, in few words."""
    told: str | None = getattr(error, "verify_message", None)
    if told is None and isinstance(error, ssl.SSLError) and error.reason:
        told = error.reason.lower().replace("_", " ")
    return told or str(error) or type(error).__name__


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS_OF_1_2)
    context.set_alpn_protocols(_PROTOCOLS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _load_own(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    read_certificate(cert)
    _check_private(key)
    try:
        context.load_cert_chain(cert, key, password=_refuse_to_ask)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsFileError(f"{key} is not the key of {cert}") from None
        if error.reason and "KEY_TOO_SMALL" in error.reason:
            raise TlsFileError(f"the key of {cert} is too small") from None
        raise TlsFileError(f"{key} holds no private key in PEM") from None
    except _EncryptedError:
        raise TlsFileError(f"{key} is encrypted; it is needed without a passphrase") from None
    except OSError as error:
        raise _unreadable(key, error) from None


class _EncryptedError(Exception):
    """A key has a passphrase."""


def _refuse_to_ask() -> str:
    """Stand in for OpenSSL's question at the terminal."""
    raise _EncryptedError


def _load_ca(context: ssl.SSLContext, ca: Path) -> frozenset[str]:
    """Trust the certificates of a file; returns their base64, for a context tells of CAs alone."""
    text = _read(ca).decode("ascii", "ignore")
    if _state(ca).st_mode & stat.S_IWOTH:
        raise TlsFileError(f"{ca} may be written by anybody; chmod o-w {ca}", forbidden=True)
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise TlsFileError(f"{ca} holds no certificates in PEM") from None
    return frozenset("".join(one.split()) for one in _A_CERTIFICATE.findall(text))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from None


def _state(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path | str, error: OSError) -> TlsFileError:
    why = (error.strerror or type(error).__name__).lower()
    return TlsFileError(f"{file}: {why}", forbidden=isinstance(error, PermissionError))


def _check_private(key: Path) -> None:
    """Refuse a key that others may use; a file of root's may be its group's, as for PostgreSQL."""
    state = _state(key)
    group = stat.S_IWGRP | stat.S_IXGRP if state.st_uid == 0 != os.geteuid() else _FOR_GROUP
    if state.st_mode & (group | _FOR_OTHERS):
        mode = stat.S_IMODE(state.st_mode)
        raise TlsFileError(
            f"{key} may be used by others than its owner (mode {mode:04o}); chmod 600 {key}",
            forbidden=True,
        )


def _shake_hands(calling: ssl.SSLContext, serving: ssl.SSLContext, ip: str) -> None:
    """Speak with oneself in memory; raises ``ssl.SSLError`` as another agent would."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = calling.wrap_bio(back, there, server_hostname=ip)
    server = serving.wrap_bio(there, back, server_side=True)
    waiting = [caller, server]
    for _ in range(_MOST_ROUNDS):
        for one in list(waiting):
            with contextlib.suppress(ssl.SSLWantReadError):
                one.do_handshake()
                waiting.remove(one)
