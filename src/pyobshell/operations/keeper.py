"""Keeps the server beside this agent in the state that was asked for, also across crashes."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.cluster.state import ClusterState
from pyobshell.deadline import Deadline
from pyobshell.engines.base import Engine, Log, ObState, ServerConfig
from pyobshell.errors import OBShellError
from pyobshell.undivided import Undivided

_log = structlog.get_logger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
_STEADY_S = 60.0
_ENDING_S = 60.0  # longer than a server takes that was told to end
# What is in brackets in a line of a server's log is another time, process or trace each time.
_OF_THE_MOMENT = re.compile(r"\[[^\]]*\]|0x[0-9a-f]+", re.IGNORECASE)
_CUT_OFF = "its agent ended meanwhile"


class ServerSettings(BaseModel):
    """How the server is deployed and started, as it travels between agents and lies on disk.

    ``password_set``: root has got the password of the cluster that is being made.
    """

    mysql_port: int
    rpc_port: int
    data_dir: str | None = None
    redo_dir: str | None = None
    log_level: str | None = None
    zone: str = ""
    cluster: str = ""
    cluster_id: int = 0
    parameters: dict[str, str] = {}
    password_set: bool = False

    def config(self, home: Path, ip: str) -> ServerConfig:
        """The engine's form of it, for a server reached at that ip."""
        return ServerConfig(
            home=home,
            mysql_port=self.mysql_port,
            rpc_port=self.rpc_port,
            data_dir=Path(self.data_dir) if self.data_dir else None,
            redo_dir=Path(self.redo_dir) if self.redo_dir else None,
            log_level=self.log_level,
            ip=ip,
            zone=self.zone,
            cluster=self.cluster,
            cluster_id=self.cluster_id,
            parameters=self.parameters,
        )


class ServerKeeper:
    """Starts and stops the server, and restarts it when it dies unasked.

    Of orders that overlap the last one counts: what is under way for the opposite is given up.
    """

    def __init__(self, engine: Engine, cluster: ClusterState, start_timeout_s: float) -> None:
        self._engine = engine
        self._cluster = cluster
        self._start_timeout_s = start_timeout_s
        self._watcher: asyncio.Task[None] | None = None
        self._taking_orders = asyncio.Lock()
        self._undivided = Undivided()
        self._under_way: dict[asyncio.Task[None], bool] = {}  # whether it is for a server that runs
        self._last_order: asyncio.Task[None] | None = None
        self._restart: asyncio.Future[None] | None = None

    @property
    def config(self) -> ServerConfig:
        """How the server was deployed, or else how it was started by its own record.

        Raises ``OB.Cluster.NotInitialized`` if there is none.
        """
        if not self.deployed:
            recorded = self._engine.recorded()
            if recorded is not None:
                return recorded
        view = self._cluster.view
        config = self._settings.config(self._engine.home, view.own.ip)
        # A cluster is made of servers that are up; before that one may be made anew.
        return replace(config, has_been_up=view.identity is Identity.CLUSTER_AGENT)

    @property
    def _settings(self) -> ServerSettings:
        text = self._cluster.server_settings
        if text is None:
            raise errors.CLUSTER_NOT_INITIALIZED()
        return ServerSettings.model_validate_json(text)

    @property
    def deployed(self) -> bool:
        """Whether a server was deployed here."""
        return self._cluster.server_settings is not None

    @property
    def knows_server(self) -> bool:
        """Whether there is a server that can be started and stopped, whoever deployed it."""
        known = self.deployed or self._engine.recorded() is not None
        is_member = self._cluster.view.identity is Identity.CLUSTER_AGENT
        return known and (is_member or self._engine.is_initialized())

    @property
    def has_password(self) -> bool:
        """Whether root has the cluster's password on the server here, or still none."""
        unborn = self._cluster.view.identity in (Identity.MASTER, Identity.FOLLOWER)
        return self.deployed and (self._settings.password_set or not unborn)

    async def note_password(self) -> None:
        """Record that root has got its password."""
        changed = self._settings.model_copy(update={"password_set": True})
        await self._cluster.remember_server(changed.model_dump_json())

    async def deploy(self, settings: ServerSettings, log: Log) -> None:
        """Make the server's directories, and remember how it is to be started."""
        config = settings.config(self._engine.home, self._cluster.view.own.ip)
        await self._engine.check_start(config)
        await self._engine.deploy(config, log)
        await self._cluster.remember_server(settings.model_dump_json())

    async def check_start(self) -> None:
        """See whether the server can be started; raises, and notes, what would prevent it."""
        try:
            await self._engine.check_start(self.config)
        except OBShellError as error:
            async with self._taking_orders:
                if not self._under_way:
                    await self._note_cause(str(error))
            raise

    async def start(self, log: Log, deadline: Deadline) -> None:
        """Start the server unless it runs; returns when it accepts SQL."""
        await self._carry_out(True, self._engine.start, log, deadline)

    async def kill(self, log: Log, deadline: Deadline) -> None:
        """End the server at once; it stays down until a start is asked for."""
        await self._carry_out(False, self._engine.kill, log, deadline)

    async def terminate(self, log: Log, deadline: Deadline) -> None:
        """End the server with SIGTERM; if it does not end in time it goes on as before."""
        await self._carry_out(False, self._engine.terminate, log, deadline)

    async def give_up(self) -> None:
        """Neither start the server again nor end it; if that cannot be recorded all goes on."""
        await self._undivided.do(self._give_up())

    async def _give_up(self) -> None:
        async with self._taking_orders:
            await self._cluster.want_server(False)
            await self._leave_alone()
            self._last_order = None

    async def resume(self) -> None:
        """If the server shall run, restart it whenever it dies, until somebody stops it.

        An order that the end of an earlier life cut off has failed, unless its task goes on and
        gives it again: a start leaves it as it was wanted before, a stop what has ended or ends
        within a minute.
        """
        async with self._taking_orders:
            if self._cluster.has_order and self._last_order is None:
                await self._end_cut_off()
            self._watch(self._cluster.server_wanted)

    async def _end_cut_off(self) -> None:
        with contextlib.suppress(OBShellError):  # the disk is full: the next order ends it
            if self._cluster.server_wanted:
                before = self._cluster.wanted_before
                await self._cluster.want_server(before, None if before else _CUT_OFF)
            elif await self._has_ended():
                await self._cluster.want_server(False)
            else:
                self._begin_watch(self._see_whether_it_ends())

    async def _see_whether_it_ends(self) -> None:
        """Whether a stop that was cut off has its effect; else it was given in vain."""
        wanted = self._cluster.wanted_before
        try:
            # Not wait_for, which may swallow a cancellation: who gave an order would wait for ever.
            async with asyncio.timeout(_ENDING_S):
                await self._engine.wait_death()
            wanted = False
        except Exception as error:  # its time is over, or it cannot be looked at
            _log.warning("not seen to end", action="server.look", cause=repr(error))
        async with self._taking_orders:
            with contextlib.suppress(OBShellError):  # the disk is full: the next order ends it
                await self._cluster.want_server(wanted)
        if wanted:
            await self._keep_running()

    def _watch(self, wanted: bool | None) -> None:
        if wanted and (self._watcher is None or self._watcher.done()):
            self._begin_watch(self._keep_running())

    def _begin_watch(self, watch: Coroutine[Any, Any, None]) -> None:
        # In a context of its own: a restart is not part of the request that began the watch.
        self._watcher = asyncio.create_task(
            watch, name="server keeper", context=contextvars.Context()
        )

    async def restarted(self, log: Log, deadline: Deadline) -> None:
        """If the server is just being restarted, wait until it accepts SQL or that has failed."""
        if self._restart is not None:
            log("the server had died and is being started; waiting until it accepts SQL")
            await asyncio.wait([self._restart], timeout=deadline.remaining())

    async def close(self) -> None:
        """Leave the server as it is."""
        await self._undivided.settled()
        await self._leave_alone()

    async def _carry_out(
        self,
        runs: bool,
        work: Callable[[ServerConfig, Log, Deadline], Awaitable[None]],
        log: Log,
        deadline: Deadline,
    ) -> None:
        """Do what is to have the server run, or not; if it fails all is wanted as before.

        How it ended is recorded, however often this is cancelled.
        """
        config = self.config
        order, before = await self._begin(runs, partial(work, config, log, deadline))
        try:
            await order
        except BaseException as error:
            await self._undivided.do(self._end_failed(order, error, runs=runs, before=before))
            if isinstance(error, asyncio.CancelledError) and not _is_being_cancelled():
                raise errors.SERVER_UNAVAILABLE(
                    reason=f"its {'start' if runs else 'stop'} was given up, for a "
                    f"{'stop' if runs else 'start'} was asked for meanwhile"
                ) from None
            raise
        await self._undivided.do(self._settle(order, runs))

    async def _begin(
        self, runs: bool, work: Callable[[], Awaitable[None]]
    ) -> tuple[asyncio.Task[None], bool | None]:
        """Record an order and begin to carry it out; returns that, and what was wanted before.

        If this is cancelled it is not begun, and all is wanted as before.
        """
        async with self._taking_orders:
            before, failed_start = self._cluster.before_an_order, self._cluster.failed_start
            try:
                await self._cluster.order_server(runs)  # if that cannot be recorded all goes on
                await self._leave_alone()
                await self._give_up_all_for(not runs)
            except asyncio.CancelledError:
                taking_back = self._undivided.begin(self._take_back(before, failed_start))
                while not taking_back.done():  # a later order waits for it, however often cancelled
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.wait([taking_back])
                raise
            order = asyncio.ensure_future(work())
            self._under_way[order] = runs
            order.add_done_callback(self._under_way.pop)
            self._last_order = order
            return order, before

    async def _take_back(self, before: bool | None, failed_start: str | None) -> None:
        """Have an order that is not begun not be on record; one under way says what is wanted."""
        if self._last_order is not None and not self._last_order.done():
            return
        await self._leave_alone()
        with contextlib.suppress(OBShellError):  # the disk is full: the next order ends it
            await self._cluster.want_server(before, failed_start)
        self._watch(before)

    async def _end_failed(
        self, order: asyncio.Task[None], error: BaseException, *, runs: bool, before: bool | None
    ) -> None:
        ended = not runs and await self._has_ended()
        why = _in_words(error, will_go_on=before is True) if runs else None
        await self._settle(order, False if ended else before, why)

    async def _has_ended(self) -> bool:
        """Whether no server runs; one that cannot be looked at is taken for one that does."""
        try:
            return await self._engine.state() is ObState.PROCESS_NOT_RUNNING
        except Exception as error:  # whatever it is, the server is watched on
            _log.error("not seen", action="server.look", cause=str(error))
            return False

    async def _give_up_all_for(self, runs: bool) -> None:
        opposed = [order for order, wanted in self._under_way.items() if wanted is runs]
        for order in opposed:
            order.cancel()
        if opposed:
            await asyncio.wait(opposed)

    async def _settle(
        self, order: asyncio.Task[None], wanted: bool | None, failed_start: str | None = None
    ) -> None:
        """Have it be wanted so after an order, unless there was another one since."""
        async with self._taking_orders:
            if order is not self._last_order:
                return
            try:
                await self._cluster.want_server(wanted, failed_start)
            finally:  # also if the disk is full
                self._watch(wanted)

    async def _leave_alone(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None

    async def _keep_running(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            watched_since = time.monotonic()
            try:
                await self._engine.wait_death()
                if time.monotonic() - watched_since > _STEADY_S:
                    pause_s = _FIRST_PAUSE_S
                _log.warning("the server is down, starting it", action="server.restart")
                await self._start_again()
                await self._note_restart(None)
            except Exception as error:  # whatever it is, the server is watched on
                _log.error("restart failed", action="server.restart.failed", cause=str(error))
                await self._note_restart(str(error))
            await asyncio.sleep(pause_s)  # the clock is meant: do not hammer what dies at once
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _note_restart(self, failed: str | None) -> None:
        """Record why the server could not be started again, or that it was."""
        with contextlib.suppress(OBShellError):  # the disk is full: it is in the log
            await self._note_cause(failed)

    async def _note_cause(self, why: str | None) -> None:
        """Record why the server could not be started, unless that is on record already."""
        if _cause(why) != _cause(self._cluster.failed_start):
            await self._cluster.note_failed_start(why)

    async def _start_again(self) -> None:
        self._restart = asyncio.get_running_loop().create_future()
        try:
            deadline = Deadline.after(self._start_timeout_s)
            await self._engine.start(self.config, _log_line, deadline)
        finally:
            self._restart.set_result(None)
            self._restart = None


def _log_line(line: str, **more: Any) -> None:
    _log.info(line, action="server.start", **more)


def _cause(why: str | None) -> str | None:
    """What is the same each time a start fails for one reason."""
    return None if why is None else _OF_THE_MOMENT.sub("", why)


def _in_words(error: BaseException, *, will_go_on: bool) -> str | None:
    """Why a start has failed; one that was cancelled has not, if it is tried again at once."""
    if isinstance(error, asyncio.CancelledError):
        return None if will_go_on else "it was cancelled"
    return str(error)


def _is_being_cancelled() -> bool:
    """Whether it is the task that runs this which is to end, and not one it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
