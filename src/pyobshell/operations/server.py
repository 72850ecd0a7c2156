"""What an agent does to the server beside it when another agent asks."""

from __future__ import annotations

import contextlib

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.cluster.procedures import Caller, Nothing, procedure
from pyobshell.deadline import Deadline
from pyobshell.engines.base import Log, ObState
from pyobshell.errors import OBShellError
from pyobshell.operations.join import require_empty_home
from pyobshell.operations.keeper import ServerSettings
from pyobshell.operations.passwords import Password
from pyobshell.operations.site import Site

_SESSIONS_S = 3.0


class ServerStatus(BaseModel):
    """How far a server can be used, and its version."""

    state: ObState
    version: str


@procedure("server/status")
async def status(site: Site, caller: Caller, request: Nothing) -> ServerStatus:
    """How far the server here can be used."""
    return ServerStatus(state=await site.engine.state(), version=await site.engine.version())


class ServerLook(BaseModel):
    """How far a server can be used, its process, and its sessions as far as they can be told."""

    state: ObState
    pid: int | None = None
    sessions: int | None = None


@procedure("server/look")
async def look(site: Site, caller: Caller, request: Nothing) -> ServerLook:
    """The server here as it would be stopped."""
    seen = ServerLook(state=await site.engine.state())
    with contextlib.suppress(OBShellError):  # not provably our server, or it takes no SQL
        process = await site.engine.process()
        if process is None:
            return ServerLook(state=ObState.PROCESS_NOT_RUNNING, sessions=0)
        process.close()
        seen.pid = process.pid
        if seen.state is ObState.CONNECTION_AVAILABLE:
            seen.sessions = await site.engine.sessions(caller.deadline.within(_SESSIONS_S))
    return seen


@procedure("server/deploy")
async def deploy(site: Site, caller: Caller, request: ServerSettings) -> Nothing:
    """Make the directories of a server to be; one that this agent has deployed is fine."""
    if not site.keeper.deployed:
        require_empty_home(site)
    if not site.engine.is_initialized():
        await site.keeper.deploy(request, caller.log)
    return Nothing()


@procedure("server/destroy")
async def destroy(site: Site, caller: Caller, request: Nothing) -> Nothing:
    """Remove a server that was deployed in vain."""
    await remove(site, caller.log, caller.deadline)
    return Nothing()


async def remove(site: Site, log: Log, deadline: Deadline) -> None:
    """End the server here and remove what it made; harmless if there is none."""
    if not site.keeper.deployed:
        return
    config = site.keeper.config
    await site.keeper.give_up()
    # One that does not run is not stopped: that another has its port is no reason to keep it.
    if await site.engine.state() is not ObState.PROCESS_NOT_RUNNING:
        await site.keeper.kill(log, deadline.within(site.settings.stop_timeout_s))
    await site.engine.destroy(config, log)
    await site.cluster.remember_server(None)
    site.engine.use_password("")


@procedure("server/start")
async def start(site: Site, caller: Caller, request: Nothing) -> Nothing:
    """Start the server here and wait until it accepts SQL."""
    await site.keeper.start(caller.log, caller.deadline)
    return Nothing()


@procedure("server/kill")
async def kill(site: Site, caller: Caller, request: Nothing) -> Nothing:
    """End the server here at once; it stays down until a start is asked for."""
    if site.keeper.deployed:
        await site.keeper.kill(caller.log, caller.deadline)
    return Nothing()


@procedure("server/password")
async def set_password(site: Site, caller: Caller, request: Password) -> Nothing:
    """Change the password of root on the server here, and keep it for this agent's next start."""
    await site.engine.set_root_password(request.password, caller.log)
    await site.keep_root_password(request.password)
    await site.keeper.note_password()
    return Nothing()


@procedure("server/proxyro")
async def create_proxyro(site: Site, caller: Caller, request: Password) -> Nothing:
    """Make the user by which an obproxy reads the server here."""
    await site.engine.create_proxyro(request.password, caller.log)
    return Nothing()


@procedure("server/freeze")
async def freeze(site: Site, caller: Caller, request: Nothing) -> Nothing:
    """Flush the server here to its data files, verified; a server that is down is skipped."""
    await flush(site, caller.log, caller.deadline)
    return Nothing()


async def flush(site: Site, log: Log, deadline: Deadline) -> None:
    """Minor freeze, verified; raises when a server that runs cannot be flushed."""
    await site.keeper.restarted(log, deadline)
    state = await site.engine.state()
    if state is ObState.PROCESS_NOT_RUNNING:
        log("WARNING: the server is not running; there is nothing to freeze")
    elif state is ObState.CONNECTION_AVAILABLE:
        await site.engine.minor_freeze(log, deadline.within(site.settings.freeze_timeout_s))
    else:
        raise not_to_be_flushed(state)


def not_to_be_flushed(state: ObState) -> OBShellError:
    """Why a server that runs in this state cannot be flushed."""
    return errors.SERVER_UNAVAILABLE(
        reason=f"its process runs but accepts no SQL (obState {int(state)}), so it cannot be "
        "flushed; 'force' stops it without"
    )


PROCEDURES = (
    status,
    look,
    deploy,
    destroy,
    start,
    kill,
    set_password,
    create_proxyro,
    freeze,
)
