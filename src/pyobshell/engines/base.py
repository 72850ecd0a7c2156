"""What every kind of database server can do for operations, and the words shared by all kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from pyobshell.deadline import Deadline
from pyobshell.engines.ob_cluster import ObCluster
from pyobshell.engines.process import ServerProcess

Log = Callable[[str], None]
"""Takes one line for the log of the task that users read."""


class ObState(IntEnum):
    """How far a server can be used; the numbers are OBShell's."""

    PROCESS_NOT_RUNNING = 0
    PROCESS_RUNNING = 1  # but no SQL: still starting, paused, or it refuses our password
    CONNECTION_RESTRICTED = 2  # SQL, but not from its own tables
    CONNECTION_AVAILABLE = 3


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How one server is to be deployed and started; root's password is kept apart from it.

    ``has_been_up``: it is known to have data, which a start must find, whatever else tells so.
    """

    home: Path
    mysql_port: int
    rpc_port: int | None = None
    data_dir: Path | None = None
    redo_dir: Path | None = None
    log_level: str | None = None
    ip: str = "127.0.0.1"
    zone: str = ""
    cluster: str = ""
    cluster_id: int = 0
    parameters: Mapping[str, str] = field(default_factory=dict)
    has_been_up: bool = False

    @property
    def ipv6(self) -> bool:
        """Whether the server is reached at an address of IPv6."""
        return ":" in self.ip


class Engine(Protocol):
    """One database server, known by its home directory.

    Methods that take a deadline return when their work is done, not when it is under way, and
    raise a timeout of the catalogue rather than guess. What cannot be verified is an error.
    """

    @property
    def name(self) -> str:
        """The kind of server, as in settings: ``seekdb``."""

    @property
    def home(self) -> Path:
        """The server's home directory, without symbolic links."""

    @property
    def cluster(self) -> ObCluster | None:
        """The cluster that servers of this kind form; none if each is whole by itself."""

    def is_initialized(self) -> bool:
        """Whether the server has been started before, and so has data of its own."""

    def recorded(self) -> ServerConfig | None:
        """How the server was started, by its own record; none if it has or keeps none."""

    async def version(self) -> str:
        """The version text of the server's program."""

    async def check_start(self, config: ServerConfig) -> None:
        """Raise, with a plain reason, if a start could not succeed."""

    async def deploy(self, config: ServerConfig, log: Log) -> None:
        """Make the directories; a data directory that is not empty is an error."""

    async def destroy(self, config: ServerConfig, log: Log) -> None:
        """Remove what deploying and running made, and nothing else; refuse if the server runs."""

    async def start(self, config: ServerConfig, log: Log, deadline: Deadline) -> None:
        """Start the server unless it runs; returns when it accepts SQL."""

    async def state(self) -> ObState:
        """How far the server can be used; answers within about two seconds."""

    async def process(self) -> ServerProcess | None:
        """The verified process, to be closed by the caller; none if the server does not run."""

    async def wait_death(self) -> None:
        """Return when the current process has ended; at once if there is none."""

    async def kill(self, config: ServerConfig, log: Log, deadline: Deadline) -> None:
        """End the process with SIGKILL, also a paused one; a stopped server is a success.

        Returns when the process has ended, its ports are free and nobody holds its data files.
        """

    async def terminate(self, config: ServerConfig, log: Log, deadline: Deadline) -> None:
        """As ``kill``, but with SIGTERM; on the deadline it raises and leaves the process alone."""

    async def drain(self, log: Log, deadline: Deadline) -> None:
        """Return when no statement of others runs; on the deadline raise and change nothing."""

    async def end_transactions(self, log: Log, deadline: Deadline) -> None:
        """See that no transaction is open that the server's end would not undo.

        Sessions of others that have one are ended; on the deadline it raises.
        """

    async def sessions(self, deadline: Deadline) -> int:
        """How many sessions of others the server has."""

    async def minor_freeze(self, log: Log, deadline: Deadline) -> None:
        """Flush to the data files all that was committed before the call, and verify it."""

    def use_password(self, password: str) -> None:
        """The password of root for all SQL from now on."""

    async def set_root_password(self, new: str, log: Log) -> None:
        """Change root's password from the one in use; success too if it is the new one already."""

    async def create_proxyro(self, password: str, log: Log) -> None:
        """Make the user by which an obproxy reads the server's tables; harmless when repeated."""

    async def login(self, password: str) -> bool:
        """Whether root may log in with this password; raises if the server does not answer."""

    async def close(self) -> None:
        """Give back connections; the server itself is left as it is."""
