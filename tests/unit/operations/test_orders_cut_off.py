"""An order to the server whose agent dies meanwhile: what was wanted before it is not lost."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from pyobshell import errors
from pyobshell.cluster.peers import ignore
from pyobshell.cluster.state import ClusterState
from pyobshell.engines.base import ObState
from pyobshell.operations.keeper import ServerKeeper
from support.staging import turns
from support.waiting import PATIENCE_S, Gate, in_time, soon

pytestmark = pytest.mark.anyio
DOWN, UP = ObState.PROCESS_NOT_RUNNING, ObState.CONNECTION_AVAILABLE
NO_MEMORY = errors.SERVER_UNAVAILABLE(reason="no memory")


@pytest.fixture
async def host(start_member):
    """A member whose server was deployed and is down."""
    return await start_member(zones=("zone1",), running=False)


@pytest.fixture
async def next_life(host):
    """What the agent knows, and its keeper, when it starts again: no more than is on disk."""
    async with contextlib.AsyncExitStack() as stack:

        async def live():
            known = host.site.cluster
            cluster = ClusterState(known._database, known._vault, known.view.own)
            await cluster.load()
            keeper = ServerKeeper(host.engine, cluster, start_timeout_s=PATIENCE_S)
            stack.push_async_callback(keeper.close)
            return cluster, keeper

        yield live


@pytest.fixture
async def cut_off(host):
    """Give an order, and leave it when it is being carried out, for good."""
    async with contextlib.AsyncExitStack() as stack:

        async def give(order):
            gate = host.engine.hold(order)
            carrying_out = asyncio.create_task(getattr(host.site.keeper, order)(ignore, in_time()))
            stack.callback(carrying_out.cancel)
            await gate.reached()
            host.engine._gates.clear()

        yield give


@pytest.fixture
def after_a_cut_off_stop(host, cut_off, next_life):
    """The next life of an agent that was killed while it ended its server, which runs still."""

    async def live():
        await host.site.keeper.start(ignore, in_time())
        await cut_off("terminate")
        await host.site.keeper.close()
        return await next_life()

    return live


def noted(cluster, record):
    """Whether something has been recorded, from now on."""
    real, done = getattr(cluster, record), asyncio.Event()

    async def note(*what):
        await real(*what)
        done.set()

    setattr(cluster, record, note)
    return done


@pytest.mark.parametrize("wanted", [True, False, None])
async def test_a_start_that_was_cut_off_leaves_it_as_it_was_wanted(
    host, cut_off, next_life, wanted
):
    await host.site.cluster.want_server(wanted)
    await cut_off("start")
    cluster, keeper = await next_life()
    await keeper.resume()
    assert cluster.server_wanted is wanted
    if wanted:
        await host.engine.serves()
    else:
        assert keeper._watcher is None
        assert cluster.failed_start == "its agent ended meanwhile"
    assert (await next_life())[0].server_wanted is wanted


@pytest.mark.parametrize("first", ["the task", "the agent"])
@pytest.mark.parametrize("wanted", [True, False, None])
async def test_a_start_that_goes_on_and_fails_leaves_it_as_it_was_wanted(
    host, cut_off, next_life, wanted, first
):
    """Tasks that are taken up again begin before the rest of the agent, or after it."""
    await host.site.cluster.want_server(wanted)
    await cut_off("start")
    host.engine.failures["start"] = NO_MEMORY
    cluster, keeper = await next_life()
    if first == "the agent":
        await keeper.resume()
    with pytest.raises(errors.OBShellError, match="no memory"):
        await keeper.start(ignore, in_time())
    await keeper.resume()
    assert cluster.server_wanted is wanted
    assert (await next_life())[0].server_wanted is wanted


async def test_a_start_that_goes_on_is_not_taken_for_one_that_was_cut_off(host, cut_off, next_life):
    await host.site.cluster.want_server(False)
    await cut_off("start")
    cluster, keeper = await next_life()
    gate = host.engine.hold("start")
    going_on = asyncio.create_task(keeper.start(ignore, in_time()))
    await gate.reached()
    await keeper.resume()
    assert cluster.server_wanted is True
    gate.open()
    await soon(going_on)
    assert cluster.server_wanted is True
    assert (await next_life())[0].server_wanted is True


async def test_a_stop_that_goes_on_and_fails_keeps_the_server_running(host, cut_off, next_life):
    await host.site.keeper.start(ignore, in_time())
    await cut_off("terminate")
    cluster, keeper = await next_life()
    await keeper.resume()
    assert cluster.server_wanted is False  # the process may be about to end
    host.engine.failures["terminate"] = NO_MEMORY
    with pytest.raises(errors.OBShellError):
        await keeper.terminate(ignore, in_time())
    assert cluster.server_wanted is True
    gate = host.engine.hold("start")
    host.engine.set_state(DOWN)
    await gate.reached()
    gate.open()


@pytest.mark.parametrize("ends", [False, True])
async def test_a_stop_that_was_cut_off_and_is_not_given_again_counts_if_the_server_ends(
    host, after_a_cut_off_stop, next_life, monkeypatch, ends
):
    if not ends:
        monkeypatch.setattr("pyobshell.operations.keeper._ENDING_S", 0)
    cluster, keeper = await after_a_cut_off_stop()
    recorded = noted(cluster, "want_server")
    await keeper.resume()
    if ends:
        host.engine.set_state(DOWN)
    await soon(recorded.wait())
    assert cluster.server_wanted is not ends
    assert (await next_life())[0].has_order is False
    if not ends:
        gate = host.engine.hold("start")
        host.engine.set_state(DOWN)
        await gate.reached()
        gate.open()


@pytest.mark.parametrize("moments", range(8))
async def test_an_order_may_come_just_when_a_server_ends_whose_stop_was_cut_off(
    host, after_a_cut_off_stop, moments
):
    cluster, keeper = await after_a_cut_off_stop()
    await keeper.resume()
    await turns(1)
    real = cluster.order_server

    async def record(runs):
        await real(runs)
        host.engine.set_state(DOWN)
        await turns(moments)

    cluster.order_server = record
    await soon(keeper.start(ignore, in_time()))
    assert (cluster.server_wanted, cluster.has_order) == (True, False)


async def test_a_stop_that_was_cut_off_was_in_vain_if_the_server_cannot_be_looked_at(
    host, after_a_cut_off_stop, monkeypatch
):
    monkeypatch.setattr("pyobshell.operations.keeper._FIRST_PAUSE_S", 0.01)
    cluster, keeper = await after_a_cut_off_stop()
    recorded = noted(cluster, "want_server")
    wait_death = host.engine.wait_death

    async def fails():
        raise RuntimeError("can't start new thread")

    host.engine.wait_death = fails
    await keeper.resume()
    await soon(recorded.wait())
    host.engine.wait_death = wait_death
    assert cluster.server_wanted is True
    await is_kept_running(host)


async def test_a_stop_that_was_cut_off_when_it_was_done_is_done(host, cut_off, next_life):
    await host.site.keeper.start(ignore, in_time())
    await cut_off("kill")
    await host.site.keeper.close()
    host.engine.set_state(DOWN)
    _, keeper = await next_life()
    await keeper.resume()
    cluster, keeper = await next_life()
    host.engine.failures["start"] = NO_MEMORY
    with pytest.raises(errors.OBShellError):
        await keeper.start(ignore, in_time())
    assert cluster.server_wanted is False


async def test_starts_that_all_fail_leave_it_as_it_was_wanted_before_the_first(host, cut_off):
    await host.site.cluster.want_server(False)
    await cut_off("start")
    host.engine.failures["start"] = NO_MEMORY
    with pytest.raises(errors.OBShellError):
        await host.site.keeper.start(ignore, in_time())
    assert host.site.cluster.server_wanted is False


@pytest.mark.parametrize("fails", [False, True])
async def test_what_was_wanted_before_an_order_that_has_ended_does_not_count(
    host, next_life, fails
):
    await host.site.keeper.start(ignore, in_time())
    await host.site.keeper.close()
    if fails:  # it has ended all the same
        host.engine.set_state(DOWN)
        host.engine.failures["kill"] = NO_MEMORY
    with pytest.raises(errors.OBShellError) if fails else contextlib.nullcontext():
        await host.site.keeper.kill(ignore, in_time())
    cluster, keeper = await next_life()
    host.engine.failures["start"] = NO_MEMORY
    with pytest.raises(errors.OBShellError):
        await keeper.start(ignore, in_time())
    assert cluster.server_wanted is False


# --- an order that is cancelled ------------------------------------------------------------------


async def is_kept_running(host):
    """Return once the server has died and is being started again."""
    gate = host.engine.hold("start")
    host.engine.set_state(DOWN)
    await gate.reached()
    gate.open()


@pytest.mark.parametrize("order", ["start", "kill"])
async def test_an_order_that_is_cancelled_before_it_is_begun_is_not_on_record(
    host, next_life, order
):
    before = order == "kill"
    if before:
        await host.site.keeper.start(ignore, in_time())
    else:
        await host.site.cluster.want_server(False)
    real, gate = host.site.cluster.order_server, Gate()

    async def record(runs):
        await real(runs)
        await gate.pass_through()

    host.site.cluster.order_server = record
    ordering = asyncio.create_task(getattr(host.site.keeper, order)(ignore, in_time()))
    await gate.reached()
    ordering.cancel()
    await asyncio.wait([ordering])
    known = (await next_life())[0]
    assert (known.server_wanted, known.has_order) == (before, False)
    if before:
        await is_kept_running(host)


async def test_an_order_that_is_taken_back_is_in_the_way_of_no_later_one(host):
    """However often it is cancelled: the later one waits until that is done."""
    await host.site.keeper.start(ignore, in_time())
    cluster = host.site.cluster
    record, want, recording, wanting = cluster.order_server, cluster.want_server, Gate(), Gate()

    async def slow_record(runs):
        await record(runs)
        await recording.pass_through()

    async def slow_want(*what):
        cluster.want_server = want
        await wanting.pass_through()
        await want(*what)

    cluster.order_server, cluster.want_server = slow_record, slow_want
    first = asyncio.create_task(host.site.keeper.kill(ignore, in_time()))
    await recording.reached()
    first.cancel()
    await wanting.reached()
    first.cancel()
    cluster.order_server = record
    at_work = host.engine.hold("kill")
    second = asyncio.create_task(host.site.keeper.kill(ignore, in_time()))
    opening = asyncio.create_task(at_work.reached())
    await asyncio.wait([opening], timeout=0.1)  # the later one, if it waits for nothing
    wanting.open()
    await soon(host.site.keeper._undivided.settled())
    await opening
    assert (cluster.server_wanted, cluster.has_order) == (False, True)
    assert host.site.keeper._watcher is None
    at_work.open()
    await soon(second)
    assert cluster.server_wanted is False
    assert first.cancelled()


async def test_a_stop_that_fails_keeps_the_server_running_also_if_it_cannot_be_looked_at(host):
    await host.site.keeper.start(ignore, in_time())
    host.engine.failures["terminate"] = OSError("too many open files")
    state = host.engine.state

    async def fails():
        raise OSError("too many open files")

    host.engine.state = fails
    with pytest.raises(OSError, match="too many"):
        await host.site.keeper.terminate(ignore, in_time())
    host.engine.state = state
    assert host.site.cluster.server_wanted is True
    await is_kept_running(host)


async def test_a_stop_that_is_cancelled_twice_keeps_the_server_running(host):
    await host.site.keeper.start(ignore, in_time())
    at_work, looking = host.engine.hold("terminate"), Gate()
    stopping = asyncio.create_task(host.site.keeper.terminate(ignore, in_time()))
    await at_work.reached()
    real = host.engine.state

    async def slow():
        await looking.pass_through()
        return await real()

    host.engine.state = slow
    recorded = noted(host.site.cluster, "want_server")
    stopping.cancel()
    await looking.reached()
    stopping.cancel()
    await asyncio.wait([stopping])
    looking.open()
    await soon(recorded.wait())
    assert host.site.cluster.server_wanted is True
    await is_kept_running(host)


async def test_a_start_that_is_cancelled_when_it_is_done_has_the_server_kept_running(host):
    real, gate = host.site.cluster.want_server, Gate()

    async def record(*what):
        await gate.pass_through()
        await real(*what)

    host.site.cluster.want_server = record
    recorded = noted(host.site.cluster, "want_server")
    starting = asyncio.create_task(host.site.keeper.start(ignore, in_time()))
    await gate.reached()
    starting.cancel()
    await asyncio.wait([starting])
    gate.open()
    await soon(recorded.wait())
    await is_kept_running(host)
