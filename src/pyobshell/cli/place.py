"""Which agent a command is for, and how to reach it."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pyobshell.cli import secrets
from pyobshell.cli.outcome import CommandError, Exit
from pyobshell.cli.rightful import require_own_home, require_rightful
from pyobshell.cli.trust import Trust

if TYPE_CHECKING:
    from pyobshell.address import Address
    from pyobshell.client import Client

ENVIRONMENT = "OBSHELL_BASE_DIR"
_SOCKET = "run/obshell.sock"


@dataclass(frozen=True)
class Place:
    """An agent of this host by its home, or any agent by its address; one of the two is set.

    ``agent_password`` is given in place of root's ``password`` where there is one. With ``trust``
    one named by address is asked over TLS. ``options`` are the words that name it in a command.
    """

    base_dir: Path | None = None
    address: Address | None = None
    password: str = field(default="", repr=False)
    agent_password: str | None = field(default=None, repr=False)
    options: tuple[str, ...] = ()
    trust: Trust | None = None

    def client(self, patience_s: float | None = None) -> Client:
        """A client of that agent, that waits so long for an answer (None: a minute).

        Raises ``CommandError`` if no local agent can be there.
        """
        from pyobshell.client import Client

        if self.address is not None:
            return Client(
                self.address,
                self.password,
                agent_password=self.agent_password,
                patience_s=patience_s,
                tls=self.trust.context() if self.trust else None,
            )
        assert self.base_dir is not None  # noqa: S101 - one of the two is set
        socket = self.base_dir / _SOCKET
        if not (socket.is_socket() and require_rightful(self.base_dir, socket)):
            raise CommandError(
                Exit.UNREACHABLE,
                f"no agent runs on {self.base_dir}; start it: "
                f"obshell agent start --base-dir {shlex.quote(str(self.base_dir))}",
            )
        return Client.local(socket, patience_s)

    def with_password(self, password: str) -> Place:
        """The same agent, asked with another password."""
        return replace(self, password=password)

    def command(self, *words: str) -> str:
        """An `obshell` command for this agent, to be shown to the user."""
        return shlex.join(["obshell", *words, *self.options])


def locate(
    base_dir: Path | None,
    host: str | None = None,
    password: str | None = None,
    password_file: Path | None = None,
    *,
    ask: bool = True,
) -> Place:
    """The agent that the options mean; may ask for the password of an agent named by address."""
    environment = secrets.take_from_environment()
    agent_password = secrets.take_from_environment(secrets.OF_AGENT)
    if host is None:
        words = () if base_dir is None else ("--base-dir", str(base_dir))
        return Place(base_dir=find_base_dir(base_dir), options=words)
    if base_dir is not None:
        raise CommandError(Exit.USAGE, "give --base-dir or --host, not both")
    address, trust = parse_host(host)
    found = secrets.find_password(password, password_file, None)
    if found is not None:
        agent_password = None
    elif agent_password is None:
        found = environment
    if found is None and agent_password is None:
        hint = f"give --password-file, or set {secrets.ENVIRONMENT} or {secrets.OF_AGENT}"
        found = secrets.ask_password("root@sys", hint) if ask else ""
    name = f"https://{address}" if trust else str(address)
    options = ("--host", name, *(trust.options if trust else ()))
    return Place(None, address, found or "", agent_password, options, trust)


def parse_host(host: str) -> tuple[Address, Trust | None]:
    """Address and TLS of an agent named IP:PORT, https://IP:PORT or http://IP:PORT.

    Where the scheme is not said, TLS is spoken if it is said whom to trust, or what to show.
    """
    from pyobshell.address import Address

    scheme, separator, rest = host.rpartition("://")
    if separator and scheme not in ("http", "https"):
        raise CommandError(Exit.USAGE, f"{host}: write IP:PORT, https://IP:PORT or http://IP:PORT")
    address = Address.parse(rest.removesuffix("/"))
    trust = None if scheme == "http" else Trust.found()
    return address, (trust or Trust()) if scheme == "https" else trust


def find_base_dir(given: Path | None) -> Path:
    """The home that is meant: as given, or by the environment, or where an agent runs."""
    if given is not None:
        return given.expanduser().absolute()
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named).expanduser().absolute()
    for directory in (Path.cwd(), Path.home() / ".obshell"):
        if (directory / _SOCKET).is_socket():
            require_own_home(directory)
            return directory
    raise CommandError(
        Exit.UNREACHABLE,
        f"which agent? None runs on {Path.cwd()} or ~/.obshell; "
        f"give --base-dir or --host, or set {ENVIRONMENT}",
    )


def home_for_start(given: Path | None) -> Path:
    """The home of an agent to be started: as given, or one where an agent was started before."""
    if given is not None or os.environ.get(ENVIRONMENT):
        return find_base_dir(given)
    for directory in (Path.cwd(), Path.home() / ".obshell"):
        if (directory / ".obshell/settings.json").exists():
            require_own_home(directory)
            return directory
    raise CommandError(Exit.USAGE, f"which home? Give --base-dir, or set {ENVIRONMENT}")


def home_of_program() -> Path | None:
    """The home in whose ``bin`` this program lies, which is OBShell's own layout."""
    program = Path(sys.argv[0]).absolute()
    home = program.parent.parent
    if program.parent.name != "bin" or home == Path(sys.prefix):
        return None
    return home
