"""What an agent does to the server beside it when another agent asks."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.cluster.procedures import Caller, Nothing, Procedure, procedure
from pyobshell.engines.base import ObState
from pyobshell.operations.keeper import ServerSettings
from pyobshell.operations.site import Site


class Report(BaseModel):
    """What happened, line by line, for the task log of the agent that asked."""

    lines: list[str] = []


Asked = Procedure[Site, Any, Report]


class ServerStatus(BaseModel):
    """How far a server can be used, and its version."""

    state: ObState
    version: str


@procedure("server/status")
async def status(site: Site, caller: Caller, request: Nothing) -> ServerStatus:
    """How far the server here can be used."""
    return ServerStatus(state=await site.engine.state(), version=await site.engine.version())


@procedure("server/deploy")
async def deploy(site: Site, caller: Caller, request: ServerSettings) -> Report:
    """Make the directories of a server to be."""
    report = Report()
    if not site.engine.is_initialized():
        await site.keeper.deploy(request, report.lines.append)
    return report


@procedure("server/destroy")
async def destroy(site: Site, caller: Caller, request: Nothing) -> Report:
    """Remove a server that was deployed in vain."""
    report = Report()
    if site.keeper.deployed:
        config = site.keeper.config
        await site.keeper.kill(report.lines.append, caller.deadline)
        await site.engine.destroy(config, report.lines.append)
        await site.cluster.remember_server(None)
    return report


@procedure("server/start")
async def start(site: Site, caller: Caller, request: Nothing) -> Report:
    """Start the server here and wait until it accepts SQL."""
    report = Report()
    await site.keeper.start(report.lines.append, caller.deadline)
    return report


class NewPassword(BaseModel):
    """The password root is to get."""

    password: str


@procedure("server/password")
async def set_password(site: Site, caller: Caller, request: NewPassword) -> Report:
    """Change the password of root on the server here."""
    report = Report()
    await site.engine.set_root_password(request.password, report.lines.append)
    return report


@procedure("server/proxyro")
async def create_proxyro(site: Site, caller: Caller, request: NewPassword) -> Report:
    """Make the user by which an obproxy reads the server here."""
    report = Report()
    await site.engine.create_proxyro(request.password, report.lines.append)
    return report


@procedure("server/freeze")
async def freeze(site: Site, caller: Caller, request: Nothing) -> Report:
    """Flush the server here to its data files, verified; a server that is down is skipped."""
    report = Report()
    state = await site.engine.state()
    if state is ObState.PROCESS_NOT_RUNNING:
        report.lines.append("WARNING: the server is not running; there is nothing to freeze")
    elif state is not ObState.CONNECTION_AVAILABLE:
        raise errors.SERVER_UNAVAILABLE(
            reason=f"its process runs but accepts no SQL (obState {int(state)}), so it cannot be "
            "flushed; 'force' stops it without"
        )
    else:
        await site.engine.minor_freeze(report.lines.append, caller.deadline)
    return report


@procedure("server/retire")
async def retire(site: Site, caller: Caller, request: Nothing) -> Report:
    """Stop the server here gently: idle, flushed, then SIGTERM; never SIGKILL."""
    report = Report()
    if await site.engine.state() is ObState.PROCESS_NOT_RUNNING:
        report.lines.append("the server is not running")
        await site.keeper.terminate(report.lines.append, caller.deadline)
        return report
    settings, log = site.settings, report.lines.append
    idle_by = caller.deadline.within(settings.drain_timeout_s)
    await site.engine.drain(log, idle_by)
    report.lines += (await freeze.handler(site, caller, Nothing())).lines
    await site.engine.drain(log, caller.deadline.within(settings.drain_timeout_s))
    await site.keeper.terminate(log, caller.deadline.within(settings.stop_timeout_s))
    return report


PROCEDURES = (status, deploy, destroy, start, set_password, create_proxyro, freeze, retire)
