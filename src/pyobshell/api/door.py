"""The door to the network: what keeps strangers and those who repeat others outside."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyobshell.api.handshakes import Handshakes
from pyobshell.api.sparing import Sparing
from pyobshell.api.strangers import Strangers
from pyobshell.security.backoff import LoginBackoff
from pyobshell.security.replay import ReplayGuard
from pyobshell.security.tls import Tls
from pyobshell.settings import Paths


@dataclass(frozen=True, slots=True)
class Door:
    """What an agent remembers of those who came over the network, and its TLS, if any."""

    replays: ReplayGuard
    tls: Tls | None = None
    logins: LoginBackoff = field(default_factory=LoginBackoff)
    strangers: Strangers = field(default_factory=Strangers)
    handshakes: Handshakes = field(default_factory=Handshakes)
    refusals: Sparing = field(default_factory=Sparing)

    @classmethod
    def of(cls, paths: Paths, now: float, tls: Tls | None) -> Door:
        """The door of an agent that starts at ``now`` (Unix seconds); raises OSError."""
        return cls(ReplayGuard(paths.used_headers, paths.timeless_headers, now), tls)

    @property
    def tls_only(self) -> bool:
        """Whether plain HTTP is refused."""
        return self.tls is not None and self.tls.required
