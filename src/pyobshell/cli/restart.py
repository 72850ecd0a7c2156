"""Ends an agent and starts it again: not before it is likely to come up, and else as it was."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING, Any

from pyobshell.cli import agents, interrupts, startwith
from pyobshell.cli.outcome import CommandError, Exit
from pyobshell.deadline import Deadline
from pyobshell.settings import Paths, Settings

if TYPE_CHECKING:
    from pyobshell.engines.process import ServerProcess

_STARTING_S = 60.0
_ENDING_S = 60.0
_ANSWER_S = 5.0


def start(settings: dict[str, Any], take_over: dict[str, Any] | None = None) -> agents.Running:
    """Start an agent as a daemon, and wait until it serves."""
    return agents.launch([settings], take_over)[0].wait(Deadline.after(_STARTING_S))


async def end(process: ServerProcess) -> None:
    """End an agent; raises ``CommandError`` if it does not end."""
    if not await agents.end(process, SIGTERM, Deadline.after(_ENDING_S)):
        raise CommandError(
            Exit.FAILED,
            f"agent process {process.pid} has not ended within {_ENDING_S:g} s; 'kill -9 "
            f"{process.pid}' ends it: its tasks go on when it is started again",
        )


async def restart(
    settings: dict[str, Any], take_over: dict[str, Any] | None = None
) -> agents.Running:
    """Start an agent, after the end of the one that runs on its home."""
    home = Path(settings["base_dir"])
    process = agents.find(home)
    if process is None:
        return start(settings, take_over)
    with process:
        await _check(Settings.model_validate(settings))
        before = _kept(home)
        await end(process)
    with interrupts.ending_at_once():
        try:
            return start(settings, take_over)
        except CommandError as error:
            said = f"{error}; {_start_as(before)}"
            raise CommandError(error.exit_code, said, error.code) from None


def _kept(home: Path) -> dict[str, Any] | None:
    try:
        return startwith.kept(home) | {"base_dir": str(home)}
    except CommandError:
        return None


def _start_as(before: dict[str, Any] | None) -> str:
    if before is None:
        return "the agent is down, as what it was started with before cannot be read"
    try:
        running = start(before)
    except CommandError as error:
        return f"as it was the agent does not start either: {error}"
    return f"the agent runs again as it was (pid {running.pid}, {running.address})"


async def _check(settings: Settings) -> None:
    """Refuse what would keep the agent from starting again, as far as that can be known."""
    from pyobshell.engines import make_engine
    from pyobshell.errors import OBShellError
    from pyobshell.security.tls import Tls, TlsFileError

    try:
        make_engine(settings.engine, settings.base_dir, settings.paths.state_dir, settings.observer)
    except OBShellError as error:
        raise CommandError(Exit.START_FAILED, str(error), error.code.name) from None
    try:
        if settings.speaks_tls:
            Tls(settings, quiet=True)
    except TlsFileError as error:
        code = Exit.PERMISSION if error.forbidden else Exit.START_FAILED
        raise CommandError(code, f"{error}; nothing was done") from None
    await _check_move(settings)


async def _check_move(settings: Settings) -> None:
    """Refuse another address to a member of a cluster, and one that cannot be had to anybody."""
    from pyobshell.client import ApiError, Client, Unreachable

    try:
        async with (
            asyncio.timeout(_ANSWER_S),
            Client.local(Paths(settings.base_dir).socket) as client,
        ):
            agent = (await client.status()).agent
    except (ApiError, Unreachable, TimeoutError):
        return  # an agent that does not answer is a reason for a restart
    own = settings.address
    if (agent.ip, agent.port) == (own.ip, own.port):
        return
    if agent.identity != "SINGLE":
        raise CommandError(
            Exit.ADDRESS_CHANGED,
            f"the agent is a member of a cluster as {agent.ip}:{agent.port} "
            f"and cannot become {own}; nothing was done",
        )
    _listen_once(own.ip, own.port)


def _listen_once(ip: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((ip, port))
            tried.listen()
        except OSError as error:
            raise CommandError(
                Exit.LISTEN_FAILED,
                f"cannot listen on {ip}:{port}: {error.strerror}; nothing was done",
            ) from None
