"""The server is kept in the state that was asked for, also when it dies unasked."""

from __future__ import annotations

import asyncio
from contextlib import closing
from sqlite3 import connect

import pytest

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.cluster.peers import ignore
from pyobshell.engines.base import ObState, ServerConfig
from pyobshell.operations.server import flush
from support.staging import turns
from support.waiting import Gate, in_time, soon

pytestmark = pytest.mark.anyio

DOWN, UP = ObState.PROCESS_NOT_RUNNING, ObState.CONNECTION_AVAILABLE


@pytest.fixture
async def host(start_member):
    """A member whose server was deployed and is down."""
    return await start_member(zones=("zone1",), running=False)


async def test_a_server_that_dies_unasked_is_started_again(host):
    await host.site.keeper.start(ignore, in_time())
    gate = host.engine.hold("start")
    host.engine.set_state(DOWN)
    await gate.reached()
    gate.open()
    assert host.engine.deeds == ["start", "start"]
    assert host.site.cluster.server_wanted


@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_a_server_that_was_stopped_stays_down(host, end):
    keeper = host.site.keeper
    await keeper.start(ignore, in_time())
    await getattr(keeper, end)(ignore, in_time())
    assert host.engine.deeds == ["start", end]
    assert not host.site.cluster.server_wanted
    await keeper.resume()
    assert keeper._watcher is None
    assert await host.engine.state() is DOWN


async def test_a_server_that_shall_run_is_started_with_its_agent(host):
    await host.site.cluster.want_server(True)
    gate = host.engine.hold("start")
    await host.site.keeper.resume()
    await gate.reached()
    gate.open()


async def test_a_server_that_shall_not_run_is_not_started_with_its_agent(host):
    await host.site.keeper.resume()
    assert host.site.keeper._watcher is None
    assert host.engine.deeds == []


@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_a_server_that_could_not_be_stopped_is_kept_running(host, end):
    keeper = host.site.keeper
    await keeper.start(ignore, in_time())
    host.engine.failures[end] = errors.CLUSTER_ASYNC_TIMEOUT(operation=end, seconds=1)
    with pytest.raises(errors.OBShellError):
        await getattr(keeper, end)(ignore, in_time())
    assert host.site.cluster.server_wanted
    gate = host.engine.hold("start")
    host.engine.set_state(DOWN)
    await gate.reached()
    gate.open()


async def test_a_server_that_ended_though_its_stop_failed_stays_down(host):
    keeper = host.site.keeper
    await keeper.start(ignore, in_time())
    await keeper.close()
    host.engine.set_state(DOWN)
    host.engine.failures["kill"] = errors.CLUSTER_ASYNC_TIMEOUT(operation="kill", seconds=1)
    with pytest.raises(errors.OBShellError):
        await keeper.kill(ignore, in_time())
    assert not host.site.cluster.server_wanted
    assert keeper._watcher is None


@pytest.mark.parametrize("wanted", [True, False, None])
async def test_a_start_that_fails_leaves_it_as_it_was_wanted(host, wanted):
    await host.site.cluster.want_server(wanted)
    host.engine.failures["start"] = errors.SERVER_UNAVAILABLE(reason="no memory")
    with pytest.raises(errors.OBShellError):
        await host.site.keeper.start(ignore, in_time())
    assert host.site.cluster.server_wanted is wanted


def failed_start(host):
    """What is recorded of a start that failed."""
    with closing(connect(host.agent.paths.database)) as database:
        found = database.execute("SELECT value FROM setting WHERE name = 'failed_start'").fetchone()
    return found and found[0]


@pytest.mark.parametrize("failing", ["start", "check_start"])
async def test_why_a_start_failed_is_on_record_until_the_next_order(host, failing):
    await host.site.cluster.want_server(False)
    host.engine.failures[failing] = errors.SERVER_UNAVAILABLE(reason="no memory")
    keeper = host.site.keeper
    with pytest.raises(errors.OBShellError):
        await (keeper.start(ignore, in_time()) if failing == "start" else keeper.check_start())
    assert "no memory" in failed_start(host)
    host.engine.failures.clear()
    await keeper.start(ignore, in_time())
    assert failed_start(host) is None


async def test_a_server_that_could_not_be_stopped_is_kept_running_also_on_a_full_disk(
    host, monkeypatch
):
    keeper = host.site.keeper
    await keeper.start(ignore, in_time())
    host.engine.failures["kill"] = errors.CLUSTER_ASYNC_TIMEOUT(operation="kill", seconds=1)

    async def full(*_):
        raise errors.STORE_UNAVAILABLE(file="meta.db", cause="no space is left", base_dir="/home")

    with monkeypatch.context() as patched:
        patched.setattr(host.site.cluster, "want_server", full)
        with pytest.raises(errors.OBShellError):
            await keeper.kill(ignore, in_time())
    gate = host.engine.hold("start")
    host.engine.set_state(DOWN)
    await gate.reached()
    gate.open()


async def test_a_stop_that_is_given_up_keeps_the_server_running(host):
    keeper = host.site.keeper
    await keeper.start(ignore, in_time())
    gate = host.engine.hold("terminate")
    stopping = asyncio.create_task(keeper.terminate(ignore, in_time()))
    await gate.reached()
    assert not host.site.cluster.server_wanted
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(stopping)
    assert host.site.cluster.server_wanted
    assert await host.engine.state() is UP


async def test_a_stop_may_come_while_the_server_is_being_brought_back(host):
    keeper = host.site.keeper
    await keeper.start(ignore, in_time())
    gate = host.engine.hold("start")
    host.engine.set_state(DOWN)
    await gate.reached()
    await soon(keeper.kill(ignore, in_time()))
    await gate.given_up()
    assert host.engine.deeds[-1] == "kill"
    assert not host.site.cluster.server_wanted


async def test_a_server_that_is_being_brought_back_is_flushed_when_it_serves(host):
    await host.site.keeper.start(ignore, in_time())
    gate, lines = host.engine.hold("start"), []
    host.engine.set_state(DOWN)
    await gate.reached()
    host.engine.set_state(ObState.PROCESS_RUNNING)
    flushing = asyncio.create_task(flush(host.site, lines.append, in_time()))
    await turns(5)
    assert "minor_freeze" not in host.engine.deeds
    gate.open()
    await soon(flushing)
    assert "waiting until it accepts SQL" in lines[0]
    assert host.engine.deeds[-1] == "minor_freeze"


async def test_if_it_does_not_come_up_it_cannot_be_flushed(host):
    await host.site.keeper.start(ignore, in_time())
    gate = host.engine.hold("start")
    host.engine.failures["start"] = errors.SERVER_UNAVAILABLE(reason="it died")
    host.engine.set_state(DOWN)
    await gate.reached()
    host.engine.set_state(ObState.PROCESS_RUNNING)
    flushing = asyncio.create_task(flush(host.site, ignore, in_time()))
    await turns(5)
    gate.open()
    with pytest.raises(errors.OBShellError, match="accepts no SQL"):
        await soon(flushing)


@pytest.mark.parametrize("kind", [OSError, RuntimeError])  # no space, or no thread, is left
async def test_a_restart_that_fails_does_not_end_the_watch(host, monkeypatch, kind):
    monkeypatch.setattr("pyobshell.operations.keeper._FIRST_PAUSE_S", 0)
    host.engine.failures["start"] = kind("full")
    await host.site.cluster.want_server(True)
    await host.site.keeper.resume()
    first, again = Gate(), Gate()
    host.engine._gates["start"] = first
    await first.reached()
    host.engine._gates["start"] = again
    first.open()
    await again.reached()
    assert failed_start(host) == "full"
    host.engine.failures.clear()
    again.open()
    await host.engine.serves()
    once_more = host.engine._gates["start"] = Gate()
    host.engine.set_state(DOWN)
    await once_more.reached()
    assert failed_start(host) is None
    once_more.open()


async def test_a_server_that_was_never_deployed_cannot_be_started(start_host):
    host = await start_host()
    assert not host.site.keeper.deployed
    with pytest.raises(errors.OBShellError) as caught:
        await host.site.keeper.start(ignore, in_time())
    assert caught.value.code is errors.CLUSTER_NOT_INITIALIZED
    assert host.engine.deeds == []
    assert not host.site.cluster.server_wanted


async def test_a_process_that_cannot_be_looked_at_does_not_end_the_watch(host, monkeypatch):
    keeper = host.site.keeper
    monkeypatch.setattr("pyobshell.operations.keeper._FIRST_PAUSE_S", 0.01)
    looked = asyncio.Event()
    wait_death = host.engine.wait_death

    async def fails_once():
        if not looked.is_set():
            looked.set()
            raise errors.SERVER_PROCESS_CHECK_FAILED(reason="it belongs to another user")
        await wait_death()

    monkeypatch.setattr(host.engine, "wait_death", fails_once)
    await host.site.cluster.want_server(True)
    gate = host.engine.hold("start")
    await keeper.resume()
    await gate.reached()
    gate.open()
    assert looked.is_set()


async def test_a_start_that_is_overtaken_by_a_stop_leaves_the_server_down(host):
    keeper = host.site.keeper
    await host.site.cluster.want_server(True)
    gate = host.engine.hold("start")
    starting = asyncio.create_task(keeper.start(ignore, in_time()))
    await gate.reached()
    await soon(keeper.kill(ignore, in_time()))
    with pytest.raises(errors.OBShellError, match="a stop was asked for meanwhile"):
        await soon(starting)
    assert host.engine.deeds == ["start", "kill"]
    assert host.site.cluster.server_wanted is False
    assert keeper._watcher is None


async def test_a_stop_that_is_overtaken_by_a_start_leaves_the_server_running(host):
    keeper = host.site.keeper
    await keeper.start(ignore, in_time())
    gate = host.engine.hold("terminate")
    stopping = asyncio.create_task(keeper.terminate(ignore, in_time()))
    await gate.reached()
    await soon(keeper.start(ignore, in_time()))
    with pytest.raises(errors.OBShellError, match="a start was asked for meanwhile"):
        await soon(stopping)
    assert await host.engine.state() is UP
    assert host.site.cluster.server_wanted is True
    again = host.engine.hold("start")
    host.engine.set_state(DOWN)  # it is kept running
    await again.reached()
    again.open()


async def test_a_start_that_fails_does_not_undo_a_later_one(host):
    keeper = host.site.keeper
    gate = host.engine.hold("start")
    first = asyncio.create_task(keeper.start(ignore, in_time()))
    await gate.reached()
    host.engine._gates.clear()
    await soon(keeper.start(ignore, in_time()))
    host.engine.failures["start"] = errors.SERVER_UNAVAILABLE(reason="no memory")
    gate.open()
    with pytest.raises(errors.OBShellError, match="no memory"):
        await soon(first)
    assert host.site.cluster.server_wanted is True


async def test_a_server_by_its_own_record_is_kept_running_too(start_host):
    host = await start_host()
    host.engine.record = ServerConfig(host.engine.home, 2881, rpc_port=2882)
    await host.site.keeper.start(ignore, in_time())
    assert not host.site.keeper.deployed
    gate = host.engine.hold("start")
    host.engine.set_state(DOWN)
    await gate.reached()
    gate.open()


@pytest.mark.parametrize(
    ("identity", "known"), [(Identity.CLUSTER_AGENT, True), (Identity.MASTER, False)]
)
async def test_the_server_of_a_running_cluster_is_known_to_have_been_up(
    start_outsider, identity, known
):
    host = await start_outsider(identity)
    assert host.site.keeper.config.has_been_up is known


async def test_an_order_that_cannot_be_recorded_changes_nothing(host, monkeypatch):
    keeper = host.site.keeper
    await keeper.start(ignore, in_time())

    async def full(_):
        raise errors.STORE_UNAVAILABLE(file="meta.db", cause="full", base_dir="home")

    monkeypatch.setattr(host.site.cluster, "order_server", full)
    with pytest.raises(errors.OBShellError, match="full"):
        await keeper.kill(ignore, in_time())
    gate = host.engine.hold("start")
    host.engine.set_state(DOWN)  # it is kept running
    await gate.reached()
    gate.open()


async def test_a_server_that_cannot_be_given_up_is_kept_running(host, monkeypatch):
    keeper = host.site.keeper
    await keeper.start(ignore, in_time())

    async def full(*_):
        raise errors.STORE_UNAVAILABLE(file="meta.db", cause="full", base_dir="home")

    with monkeypatch.context() as patched:
        patched.setattr(host.site.cluster, "want_server", full)
        with pytest.raises(errors.OBShellError, match="full"):
            await keeper.give_up()
    gate = host.engine.hold("start")
    host.engine.set_state(DOWN)
    await gate.reached()
    gate.open()
