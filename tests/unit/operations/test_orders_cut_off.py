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
from support.waiting import PATIENCE_S, in_time, soon

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
