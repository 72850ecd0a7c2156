"""The maintainer: of all agents the one that runs the DAGs in the cluster's own store.

Every agent competes for the lease. Who wins it starts a task engine on that store, whose every
write is refused once the lease is another's, and so takes up what was left RUNNING there, just as
after an agent's restart. Who loses it, or cannot record what happens, stops that engine and
competes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from functools import partial
from typing import Any

import structlog
from pydantic import BaseModel

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller, Nothing, procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations import keeping
from pyobshell.operations.executor import Executor
from pyobshell.operations.retirement import look_whether_parted
from pyobshell.operations.site import Run, Site
from pyobshell.store.database import Database
from pyobshell.store.mysql import Connect
from pyobshell.tasks import lease, transitions
from pyobshell.tasks.engine import TaskEngine
from pyobshell.tasks.lease import Candidate, Lease, Terms
from pyobshell.tasks.model import Dag
from pyobshell.tasks.operators import parse_operator
from pyobshell.tasks.stage import Catalogue, Stage, perform
from pyobshell.tasks.transitions import Claim

_log = structlog.get_logger(__name__)
_TOLD_OF_VACANCY = 8
_TELLING_S = 1.0


class Maintainer:
    """This agent's part in that: a candidate at all times, the maintainer while ``active``."""

    def __init__(
        self, site: Site, connect: Connect, catalogue: Catalogue, executor: Executor
    ) -> None:
        self._site = site
        self._connect = connect
        self._catalogue = catalogue
        self._executor = executor
        settings = site.settings
        self._terms = Terms(settings.lease_s, settings.lease_renewal_s)
        self._lease_database = Database.mysql(connect, statement_s=settings.lease_s)
        self._candidate = Candidate(self._lease_database, site.own, self._terms)
        self._engine: TaskEngine[Site] | None = None
        self._nudged = asyncio.Event()
        self.active = asyncio.Event()

    @property
    def engine(self) -> TaskEngine[Site]:
        """The engine of the cluster's DAGs; raises ``Agent.Maintainer.NotActive`` elsewhere."""
        if self._engine is None or self._candidate.remaining() == 0:
            raise errors.MAINTAINER_NOT_ACTIVE(cause=f"{self._site.own} is not the one")
        return self._engine

    def look(self) -> None:
        """Look at once whether the lease can be had."""
        self._nudged.set()

    async def compete(self) -> None:
        """Be a candidate, and the maintainer whenever the lease is won, until cancelled."""
        while True:
            self._nudged.clear()
            try:
                pause = await self._try()
            except Exception as error:
                unforeseen = None if isinstance(error, OBShellError) else error
                cause = str(error)
                _log.warning("no lease", action="lease.look", cause=cause, exc_info=unforeseen)
                look_whether_parted(self._site)  # a server that was removed tells nothing any more
                pause = self._terms.renewal_s
            with contextlib.suppress(TimeoutError):
                # Not all at the same moment.
                async with asyncio.timeout(pause + _jitter(self._terms.renewal_s / 4)):
                    await self._nudged.wait()

    async def close(self) -> None:
        """Close the connection by which the lease is kept."""
        await asyncio.to_thread(self._lease_database.close)

    async def _try(self) -> float:
        """Take the lease if it can be had; returns after how many seconds to look again."""
        seen = await self._candidate.look()
        self._saw(seen)
        if not self._is_eligible() or seen.maintainer not in (None, self._site.own):
            return max(seen.remaining_s, 0.0)
        if await self._candidate.take():
            await self._maintain()
        return self._terms.renewal_s

    def _is_eligible(self) -> bool:
        return self._site.cluster.view.identity is Identity.CLUSTER_AGENT

    def _saw(self, seen: Lease) -> None:
        """Every look at the lease tells as well whether the members have changed."""
        self._executor.saw(seen.epoch)
        if seen.members_version != self._site.cluster.view.members_version:
            self._site.background.begin(self._learn_members())

    async def _learn_members(self) -> None:
        try:
            await self._site.require_ocs().synchronize()
        except OBShellError as error:
            _log.warning("members not learned", action="members.learn", cause=str(error))

    async def _maintain(self) -> None:
        """Run the cluster's DAGs until the lease is lost, or something cannot be recorded."""
        epoch, failed, renewed = self._candidate.epoch, asyncio.Event(), asyncio.Event()
        _log.info("is the maintainer", action="lease.won", epoch=epoch)
        fence = partial(lease.check, own=self._site.own, epoch=epoch)
        database = Database.mysql(self._connect, fence, statement_s=self._terms.length_s)
        engine = TaskEngine(
            database,
            self._catalogue,
            self._site.own,
            self._site,
            shared=True,
            execute=partial(self._execute, database, epoch),
            failed=lambda _: failed.set(),
        )
        self._executor.saw(epoch)

        def saw(seen: Lease) -> None:
            self._saw(seen)
            (renewed if self._is_eligible() else failed).set()

        async def run() -> None:
            await engine.start()
            self._engine = engine
            self.active.set()
            while True:
                await renewed.wait()
                renewed.clear()
                await engine.take_up()  # nobody may have told us of them

        tidying = keeping.every_hour(partial(keeping.tidy_cluster_store, self._site, database))
        ways = (run(), self._candidate.keep(saw), failed.wait(), tidying)
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                await task  # raises what it came to grief with
        finally:
            self._engine = None
            self.active.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await engine.stop()
            await self._candidate.give_up()
            await asyncio.to_thread(database.close)
            _log.info("is the maintainer no longer", action="lease.over", epoch=epoch)
            await self._tell_of_vacancy()

    async def _execute(
        self, database: Database, epoch: int, stage: Stage[Any, Any], claim: Claim, run: Run
    ) -> None:
        """Execute a sub task on the agent it names, or here if it names none."""
        if self._candidate.remaining() == 0:
            raise errors.MAINTAINER_NOT_ACTIVE(cause="the lease has been lost")
        own = self._site.own
        if claim.parallel and claim.agent != own:
            await self._executor.order(epoch, stage, claim, run)
            return
        if claim.agent != own:  # when it was recorded another agent was the maintainer
            database.submit(lambda c: transitions.set_agent(c, claim.sub_task_id, own))
            run.agent = own
        work = perform(stage, claim.operator, claim.params, run)
        await self._executor.alone(epoch, claim.sub_task_id, work)

    async def _tell_of_vacancy(self) -> None:
        """Let some others compete at once; the rest would do so when the lease is due to expire."""
        others = self._site.cluster.view.others
        some = random.sample(others, min(_TOLD_OF_VACANCY, len(others)))
        await self._site.peers.call_all(some, vacant, Nothing(), Deadline.after(_TELLING_S))


def _jitter(most: float) -> float:
    return random.uniform(0.0, most)  # noqa: S311 - spreads the attempts


# --- what the others ask of the maintainer --------------------------------------------------------


class ClusterDag(BaseModel):
    """One of the cluster's DAGs."""

    number: int


class ClusterOrder(BaseModel):
    """An operator for one of the cluster's DAGs or nodes."""

    number: int
    operator: str


class ClusterSignal(BaseModel):
    """A signal for one of the cluster's DAGs."""

    number: int
    name: str


class Watch(BaseModel):
    """How long to wait for a DAG to end, or to leave the stage ``seen_stage``."""

    number: int
    seconds: float
    seen_stage: int | None = None


@procedure("maintainer/vacant")
async def vacant(site: Site, caller: Caller, request: Nothing) -> Nothing:
    """Nobody is the maintainer any more."""
    site.require_ocs().maintainer.look()
    return Nothing()


@procedure("maintainer/begin")
async def begin(site: Site, caller: Caller, dag: ClusterDag) -> Nothing:
    """Somebody has recorded a DAG: begin it."""
    site.require_ocs().maintainer.engine.begin(dag.number)
    return Nothing()


@procedure("maintainer/operate")
async def operate(site: Site, caller: Caller, order: ClusterOrder) -> Nothing:
    """Apply an operator to a DAG."""
    await site.require_ocs().maintainer.engine.operate(order.number, parse_operator(order.operator))
    return Nothing()


@procedure("maintainer/operate_node")
async def operate_node(site: Site, caller: Caller, order: ClusterOrder) -> Nothing:
    """Pass a node."""
    await site.require_ocs().maintainer.engine.operate_node(order.number, order.operator)
    return Nothing()


@procedure("maintainer/signal")
async def signal(site: Site, caller: Caller, given: ClusterSignal) -> Nothing:
    """Give a DAG a signal."""
    await site.require_ocs().maintainer.engine.signal(given.number, given.name)
    return Nothing()


@procedure("maintainer/await_signal")
async def await_signal(site: Site, caller: Caller, awaited: ClusterSignal) -> Nothing:
    """Return once a DAG has been given a signal."""

    def given(dag: Dag) -> bool | None:
        return True if awaited.name in dag.signals else None

    await site.require_ocs().maintainer.engine.wait(awaited.number, given, caller.deadline)
    return Nothing()


@procedure("maintainer/watch")
async def watch(site: Site, caller: Caller, watched: Watch) -> Nothing:
    """Return once a DAG has ended or left a stage, or the time is over."""
    engine = site.require_ocs().maintainer.engine
    await engine.hold(watched.number, watched.seconds, watched.seen_stage)
    return Nothing()


PROCEDURES = (vacant, begin, operate, operate_node, signal, await_signal, watch)
