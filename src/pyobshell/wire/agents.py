"""Agents, as they tell of themselves."""

from __future__ import annotations

import operator

from pydantic import BaseModel, ConfigDict, Field

from pyobshell.wire.envelope import UnreachableAgent


class AgentWithIdentity(BaseModel):
    """An agent's address and what it is in its cluster."""

    ip: str
    port: int
    identity: str


class KeySuccession(BaseModel):
    """That a key has taken the place of another, signed with that one."""

    model_config = ConfigDict(frozen=True)

    old: str
    new: str
    signature: str = Field(description="PSS, SHA-256, base64")


class AgentSecret(BaseModel):
    """``GET /secret``: the key that requests to this agent are encrypted with."""

    ip: str
    port: int
    public_key: str = Field(description="PKCS#1 RSAPublicKey, DER, base64")
    successions: list[KeySuccession] = Field(
        default_factory=list,
        exclude_if=operator.not_,
        description="how the key came to take the place of earlier ones, if it did",
    )


class RotatedKey(BaseModel):
    """The new key of an agent, and the members that learn it later."""

    public_key: str = Field(description="PKCS#1 RSAPublicKey, DER, base64")
    key_bits: int
    unreachable: list[UnreachableAgent]


class Unwritable(BaseModel):
    """A file or directory that an agent's process cannot write to, and why."""

    file: str
    cause: str


class TlsCertificate(BaseModel):
    """The certificate that an agent shows: until when it is good, and its SHA-256 in hex."""

    notAfter: str
    sha256: str


class AgentStatus(BaseModel):
    """``GET /status``: ``state`` is the agent's (2 running), ``obState`` its server's (0 to 3).

    ``unidentified``, on the local socket alone, says of an agent that is so why it does not know
    yet what it is.
    """

    agent: AgentWithIdentity
    state: int
    version: str
    pid: int
    startAt: int = Field(description="nanoseconds since the epoch")
    port: int
    obState: int
    sqlPort: int | None = None
    underMaintenance: bool
    unidentified: str | None = None


class AgentInfoDTO(BaseModel):
    """``GET /info``."""

    pid: int
    state: int
    startAt: int
    homePath: str
    obVersion: str
    architecture: str
    ip: str
    port: int
    zone: str
    identity: str
    version: str
    isObproxyAgent: bool
    security: bool
    supportedAuth: list[str]
