"""TLS of commands that ask an agent by its address: whom they trust, and what they show.

Options of ``obshell`` itself, which may stand anywhere on the command line, put it into the
environment, where it can be set for all commands at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyobshell.cli.outcome import CommandError, Exit

if TYPE_CHECKING:
    import ssl

CA, CERT, KEY = "OBSHELL_CACERT", "OBSHELL_CERT", "OBSHELL_KEY"
_OPTIONS = {"--cacert": CA, "--cert": CERT, "--key": KEY}


@dataclass(frozen=True)
class Trust:
    """Files in PEM: the CA of agents, by default the system's; a client's certificate, its key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @classmethod
    def found(cls) -> Trust | None:
        """What the environment says; None if it says nothing."""
        named = [os.environ.get(name) for name in (CA, CERT, KEY)]
        ca, cert, key = (Path(name).expanduser().absolute() if name else None for name in named)
        if cert is None and key is not None:
            raise CommandError(Exit.USAGE, f"a key without its certificate: give --cert or {CERT}")
        return cls(ca, cert, key) if ca or cert else None

    def context(self) -> ssl.SSLContext:
        """What TLS is spoken with; raises ``CommandError`` if a file cannot be used."""
        from pyobshell.security.tls import TlsFileError, calling_context

        try:
            return calling_context(self.ca, self.cert, self.key)
        except TlsFileError as error:
            code = Exit.PERMISSION if error.forbidden else Exit.USAGE
            raise CommandError(code, str(error)) from None

    @property
    def options(self) -> tuple[str, ...]:
        """The words that say the same on a command line."""
        given = zip(_OPTIONS, (self.ca, self.cert, self.key), strict=True)
        return tuple(word for name, file in given if file for word in (name, str(file)))


def remember(cacert: Path | None, cert: Path | None, key: Path | None) -> None:
    """Put what was given on the command line before what is in the environment."""
    for name, file in ((CA, cacert), (CERT, cert), (KEY, key)):
        if file is not None:
            os.environ[name] = str(file)


def hoisted(words: Sequence[str]) -> list[str]:
    """A command line with the options for TLS before everything else, joined with their values."""
    first, rest = [], list(words)
    at = 0
    while at < len(rest):
        if rest[at] in _OPTIONS and at + 1 < len(rest):
            first.append(f"{rest.pop(at)}={rest.pop(at)}")
        elif rest[at].partition("=")[0] in _OPTIONS and "=" in rest[at]:
            first.append(rest.pop(at))
        else:
            at += 1
    return first + rest
