"""The decision whether a request over TCP may pass, from its credentials and who this agent is.

Pure: nothing is read or remembered here. The one look outside, a login with the password
offered, is the caller's and comes in as a function.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from pyobshell import errors
from pyobshell.security.hybrid import RequestHeader

TryLogin = Callable[[str], Awaitable[bool]]
"""Whether root@sys can log in with the password given; False when no database can be asked."""

_SECONDS = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A decrypted header, and which one it was.

    ``root`` is ``X-OCS-Header``, ``agent`` is ``X-OCS-Agent-Header``, ``v1`` is ``X-OCS-Auth``
    (a root password as well). ``key`` is the public key it was made for, ``client`` the ip that
    it came from, ``waited_s`` how many seconds they waited for their turn to be judged.
    """

    kind: Literal["root", "agent", "v1"]
    header: RequestHeader
    key: str = ""
    client: str = ""
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Passwords:
    """The passwords this agent knows: of root@sys and of the agent; None when there is none."""

    root: str | None = field(default=None, repr=False)
    agent: str | None = field(default=None, repr=False)

    def with_root(self, password: str | None) -> Passwords:
        """The same with another password of root@sys."""
        return replace(self, root=password)

    def with_agent(self, password: str) -> Passwords:
        """The same with another agent password."""
        return replace(self, agent=password)


def stated_expiry(header: RequestHeader) -> int:
    """The Unix second in which a header says that it expires; 0 if it says none."""
    return int(header.ts) if _SECONDS.fullmatch(header.ts) else 0


def check_binding(header: RequestHeader, request_target: str, now: float, longest_s: float) -> int:
    """The Unix second in which a header expires that was made for this request and is valid.

    ``request_target`` is the raw one: path, ``?query`` when there is one. At ``now`` (Unix seconds)
    it may not be valid for longer than ``longest_s``. Raises
    ``Security.Authentication.Header.UriMismatch``, ``…Timestamp.Invalid`` or ``…Expired``.
    The expiry counts for an empty password too.
    """
    # A bare "?" at the end means nothing, and servers do not tell whether it was there.
    if header.bound and header.uri.removesuffix("?") != request_target:
        raise errors.URI_MISMATCH()
    if not _SECONDS.fullmatch(header.ts):
        raise errors.TIMESTAMP_INVALID(cause="it is no Unix second")
    expiry = int(header.ts)
    if int(now) > expiry:
        raise errors.EXPIRED()
    if expiry > now + longest_s:
        raise errors.TIMESTAMP_INVALID(
            cause=f"it is more than {longest_s:g} s ahead; compare the clocks of client and server"
        )
    return expiry


async def verify(
    identity: str, credentials: Credentials, passwords: Passwords, try_login: TryLogin
) -> None:
    """Let credentials pass, or raise the coded refusal (all 401) that says which password to give.

    ``identity`` is this agent's, as ``/info`` spells it. Requests to a FOLLOWER are forwarded
    instead: asking for it is a ``ValueError``. What ``try_login`` raises goes through.
    """
    if identity == "FOLLOWER":
        raise ValueError("requests to a FOLLOWER are forwarded, not verified")
    offered = credentials.header.auth
    if identity == "SINGLE" or (identity == "MASTER" and passwords.root is None):
        _verify_unguarded(credentials, passwords)
    elif credentials.kind == "agent":
        _verify_agent_header(offered, passwords)
    else:
        await _verify_root_header(offered, passwords, try_login)


async def verify_for_itself(
    identity: str, credentials: Credentials, passwords: Passwords, try_login: TryLogin
) -> None:
    """Let credentials pass that are for what is an agent's own: its password.

    That counts before all others; without one, root's in a cluster, and none where there is nothing
    to guard yet (SINGLE). Raises the coded refusal (401), ``ValueError`` for any other identity.
    """
    if passwords.agent is not None:
        if credentials.kind != "agent":
            raise errors.WITH_AGENT_PASSWORD()
        _compare_agent_password(credentials.header.auth, passwords.agent)
    elif identity == "CLUSTER AGENT":
        if credentials.kind == "agent":
            raise errors.WITH_OCEANBASE_PASSWORD()
        await _verify_root_header(credentials.header.auth, passwords, try_login)
    elif identity != "SINGLE":
        raise ValueError(f"{identity} has nothing to hold credentials against")


def verify_with_agent_password(credentials: Credentials, passwords: Passwords) -> None:
    """Let credentials pass where the agent password alone counts: for what concerns obproxy.

    Raises ``Request.Header.NotFound`` for another header, or the coded refusal (401).
    """
    if credentials.kind != "agent":
        raise errors.HEADER_NOT_FOUND()
    if passwords.agent is None:
        raise errors.AGENT_PASSWORD_NOT_INITIALIZED()
    _compare_agent_password(credentials.header.auth, passwords.agent)


def known_as(offered: str, passwords: Passwords) -> Literal["root", "agent"] | None:
    """Which of the passwords that this agent knows this one is, whatever it was offered for."""
    if passwords.root is not None and _same(offered, passwords.root):
        return "root"
    if passwords.agent is not None and _same(offered, passwords.agent):
        return "agent"
    return None


def _verify_unguarded(credentials: Credentials, passwords: Passwords) -> None:
    """An agent without a cluster's password guards nothing, unless it was given one of its own.

    OBShell has a MASTER of that kind take the empty password alone, which guards as little. The
    official SDK sends the password that root@sys is to get if it meets the MASTER first as such.
    """
    if passwords.agent is None:
        return
    if credentials.kind != "agent":
        raise errors.WITH_AGENT_PASSWORD()
    _compare_agent_password(credentials.header.auth, passwords.agent)


def _verify_agent_header(offered: str, passwords: Passwords) -> None:
    """The agent password, where one is set."""
    if passwords.agent is None:
        raise errors.WITH_OCEANBASE_PASSWORD()
    _compare_agent_password(offered, passwords.agent)


async def _verify_root_header(offered: str, passwords: Passwords, try_login: TryLogin) -> None:
    """The password of root@sys as remembered, or else as the database has it now."""
    if passwords.root is None and passwords.agent is not None:
        raise errors.WITH_AGENT_PASSWORD()
    if passwords.root is not None and _same(offered, passwords.root):
        return
    if not await try_login(offered):
        raise errors.INCORRECT_OCEANBASE_PASSWORD()


def _compare_agent_password(offered: str, password: str) -> None:
    if not _same(offered, password):
        raise errors.INCORRECT_AGENT_PASSWORD()


def _same(one: str, other: str) -> bool:
    """Equality in constant time; passwords from the environment may hold surrogates."""
    return hmac.compare_digest(
        one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass")
    )
