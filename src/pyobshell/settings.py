"""The agent's settings: declared once with default and help, read once, frozen, handed down."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pyobshell.address import DEFAULT_AGENT_PORT, Address

# The release of OBShell whose API this agent speaks; its clients choose their ways by it.
API_VERSION = "4.5.0.0-0"


class Settings(BaseModel):
    """What one agent is started with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ip: str = Field(description="the address other agents and clients reach this agent at")
    port: int = Field(DEFAULT_AGENT_PORT, description="the agent's port, 1025 to 65535")
    base_dir: Path = Field(description="home of the agent and of its database server")
    engine: str | None = Field(
        None, description="the kind of database server; default: what is in base_dir, else seekdb"
    )
    observer: Path | None = Field(None, description="the server program; default: the installed")
    dag_hold_ms: int = Field(
        800, ge=0, le=30_000, description="how long GET of a running task waits for its end"
    )
    start_timeout_s: float = Field(300, gt=0, description="for a server to accept SQL")
    stop_timeout_s: float = Field(60, gt=0, description="for a server process to end")
    drain_timeout_s: float = Field(
        60, gt=0, description="for running statements to end before a gentle stop"
    )
    freeze_timeout_s: float = Field(1200, gt=0, description="for a minor freeze to be finished")
    sync_timeout_s: float = Field(
        3600, gt=0, description="for log streams to be in sync again after a restart"
    )
    rpc_timeout_s: float = Field(10, gt=0, description="for a short question to another agent")
    retry_s: float = Field(
        3, ge=0, description="how long an agent out of reach is asked again; it may be restarting"
    )
    silent_agent_s: float = Field(
        3,
        gt=0,
        description="for any sign of life of an agent without which a task goes on",
    )
    lost_agent_s: float = Field(
        30, gt=0, description="how long an agent may be out of reach before it is given up"
    )
    lease_s: float = Field(
        5, gt=0, description="how long a maintainer that has died goes on being the maintainer"
    )
    lease_renewal_s: float = Field(
        1.5,
        gt=0,
        description="how often its holder renews it; at most half of lease_s",
    )
    header_lifetime_s: float = Field(
        900, gt=0, description="for how long a client may make an encrypted header valid"
    )
    audit_keep_days: int = Field(
        180, ge=1, le=36500, description="how long it is on record who asked for what"
    )
    dag_keep_days: int = Field(
        30, ge=1, le=36500, description="how long tasks are kept that have ended"
    )
    dag_keep: int = Field(
        1000, ge=1, description="how many tasks are kept at most that have succeeded"
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    tls_cert: Path | None = Field(
        None, description="the agent's certificate for TLS, in PEM, with what leads to the CA"
    )
    tls_key: Path | None = Field(
        None, description="its private key, in PEM, readable by the agent's user alone"
    )
    tls_ca: Path | None = Field(
        None, description="the CAs of other agents and of clients, in PEM: mutual TLS"
    )
    tls: Literal["off", "optional", "required"] = Field(
        "optional",
        description="with a certificate: optional takes plain HTTP as well, required refuses it",
    )
    tls_client_auth: Literal["optional", "required"] | None = Field(
        None,
        description="whether clients must show a certificate of tls_ca; default with it: required",
    )

    @model_validator(mode="after")
    def _whole_tls(self) -> Settings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together")
        if self.tls_cert is None and (self.tls_ca is not None or self.tls == "required"):
            raise ValueError("TLS needs tls_cert and tls_key")
        if self.tls_ca is None and self.tls_client_auth is not None:
            raise ValueError("tls_client_auth needs tls_ca, the CAs of clients")
        return self

    @model_validator(mode="after")
    def _renewed_in_time(self) -> Settings:
        if self.lease_renewal_s > self.lease_s / 2:
            raise ValueError("lease_renewal_s may be at most half of lease_s")
        return self

    @field_validator("base_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("tls_cert", "tls_key", "tls_ca")
    @classmethod
    def _as_named(cls, value: Path | None) -> Path | None:
        """A link stays one: where it leads changes when certificates are renewed."""
        return None if value is None else value.expanduser().absolute()

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError("use DEBUG, INFO, WARNING or ERROR")
        return value.upper()

    @property
    def address(self) -> Address:
        """The agent's address; raises ``Common.InvalidIp`` or ``Common.InvalidPort``."""
        return Address.of(self.ip, self.port)

    @property
    def speaks_tls(self) -> bool:
        """Whether the agent has a certificate, and is not told to do without."""
        return self.tls_cert is not None and self.tls != "off"

    @property
    def paths(self) -> Paths:
        """Where the agent keeps its own files."""
        return Paths(self.base_dir)


class Paths:
    """The agent's own files below its base directory; the server's lie beside them."""

    def __init__(self, base_dir: Path) -> None:
        self.base_dir = base_dir
        self.state_dir = base_dir / ".obshell"
        self.database = self.state_dir / "meta.db"
        self.kept_copy = self.state_dir / "kept.json"
        self.vault_key = self.state_dir / "vault.key"
        self.private_key = self.state_dir / "agent.key"
        self.used_headers = self.state_dir / "headers.used"
        self.timeless_headers = self.state_dir / "headers.timeless"
        self.settings = self.state_dir / "settings.json"
        self.lock = self.state_dir / "lock"
        self.run_dir = base_dir / "run"
        self.socket = self.run_dir / "obshell.sock"
        self.pid_file = self.run_dir / "obshell.pid"
        self.log_dir = base_dir / "log_obshell"
        self.log_file = self.log_dir / "obshell.log"


def architecture() -> str:
    """The processor's architecture as OBShell names it."""
    return platform.machine()
