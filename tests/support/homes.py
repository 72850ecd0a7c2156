"""Homes of agents that have lived, to be damaged."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection, connect

from pyobshell.cli.serve import keep
from pyobshell.cluster.model import Identity
from pyobshell.security.verify import Passwords
from pyobshell.settings import Paths, Settings
from support.agents import Hosts, Keys, a_member, a_view, free_address

PASSWORDS = Passwords(root="s3cret-root", agent="s3cret-agent")


@dataclass(frozen=True)
class Home:
    """The home of a member that is down."""

    settings: Settings

    @property
    def paths(self) -> Paths:
        return self.settings.paths

    @contextmanager
    def database(self) -> Iterator[Connection]:
        """Its database, to be altered."""
        with closing(connect(self.paths.database)) as connection:
            yield connection
            connection.commit()

    def content(self) -> dict[str, bytes]:
        """What is in its files, but for what SQLite keeps beside a database while it is used."""
        files = sorted(self.paths.state_dir.iterdir())
        kept = [one for one in files if one.name.rpartition("-")[2] not in ("shm", "wal", "lock")]
        return {one.name: one.read_bytes() for one in kept if one.name != "lock" and one.is_file()}

    def copy(self, directory: Path) -> Home:
        """One like it in another place."""
        shutil.copytree(self.settings.base_dir, directory)
        for file in (directory / ".obshell").iterdir():
            file.chmod(0o600)
        copied = Home(self.settings.model_copy(update={"base_dir": directory}))
        keep(copied.settings)
        return copied


async def a_lived_in_home(hosts: Hosts, keys: Keys) -> Home:
    """The home of the first of two members, which has been up once and knows the passwords."""
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    view = a_view(own, Identity.CLUSTER_AGENT, members)
    async with hosts.serve(view, keys[0], PASSWORDS) as host:
        settings = host.agent.settings
    keep(settings)
    return Home(settings)
