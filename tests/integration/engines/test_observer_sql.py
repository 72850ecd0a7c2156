"""What an observer's SQL tells of it and its cluster, also when all is not well."""

from __future__ import annotations

import asyncio
import time

import pytest

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import ClusterView
from pyobshell.deadline import Deadline
from pyobshell.engines import ObState
from pyobshell.engines.sql import Refused
from pyobshell.operations.keeper import ServerKeeper
from support.observers import ObserverServer, in_time
from support.standin_clusters import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def servers(cluster):
    """The six, each with its engine."""
    made = [ObserverServer.of(node) for node in cluster.nodes]
    yield made
    for server in made:
        await server.engine.close()


@pytest.fixture
def server(servers):
    return servers[0]


@pytest.fixture
def speaker(server):
    """What speaks for the cluster."""
    return server.engine.cluster


def address(server: ObserverServer) -> Address:
    return Address(server.config.ip, server.config.rpc_port)


async def row_of(speaker, server):
    return next(row for row in await speaker.servers(in_time()) if row.address == address(server))


# --- states --------------------------------------------------------------------------------------


async def state_in_time(server: ObserverServer) -> ObState:
    began = time.monotonic()
    state = await server.engine.state()
    assert time.monotonic() - began < 3
    return state


async def test_a_server_of_a_cluster_is_available(server):
    assert await state_in_time(server) is ObState.CONNECTION_AVAILABLE


async def test_without_a_majority_it_is_restricted(server, cluster):
    cluster.knobs.set(without_leader=["sys"])
    await asyncio.to_thread(eventually, lambda: not cluster.nodes[0].serves())
    assert await state_in_time(server) is ObState.CONNECTION_RESTRICTED


async def test_to_a_wrong_password_it_only_runs(server):
    server.engine.use_password("wrong")
    assert await state_in_time(server) is ObState.PROCESS_RUNNING


async def test_while_logins_hang_it_only_runs_and_an_idle_connection_still_tells(servers):
    hung, known = servers[:2]
    assert await state_in_time(known) is ObState.CONNECTION_AVAILABLE
    for server in (hung, known):
        server.faults.set(hang_login=True)
    assert await state_in_time(hung) is ObState.PROCESS_RUNNING
    assert await state_in_time(known) is ObState.CONNECTION_AVAILABLE


async def test_a_password_that_was_changed_by_others_is_noticed(server, cluster):
    assert await state_in_time(server) is ObState.CONNECTION_AVAILABLE
    cluster.nodes[1].sql("alter user root identified by 'changed'")
    try:
        assert not await server.engine.login("")
        assert await server.engine.login("changed")
        server.engine.use_password("changed")
        assert await state_in_time(server) is ObState.CONNECTION_AVAILABLE
    finally:
        cluster.nodes[1].sql("alter user root identified by ''", password="changed")


async def test_statements_go_on_after_a_restart_of_the_server(server, speaker):
    count = len(await speaker.servers(in_time()))
    await server.kill()
    with pytest.raises(errors.OBShellError, match="no server runs in") as refused:
        await speaker.servers(in_time())
    assert refused.value.code is errors.SERVER_UNAVAILABLE
    await server.start()
    with await server.engine.process() as process:

        async def serves() -> bool:
            return await server.engine.state() is ObState.CONNECTION_AVAILABLE

        assert await process.until(serves, in_time())
    assert len(await speaker.servers(in_time())) == count


async def test_a_statement_that_hangs_does_not_hold_up_others(server, speaker):
    server.faults.set(hang="DBA_OB_ZONES")
    hung = asyncio.create_task(speaker.zones(Deadline.after(1)))
    assert len(await speaker.servers(in_time())) == 6
    assert not hung.done()
    with pytest.raises(errors.OBShellError, match="no answer"):
        await hung


# --- the cluster ---------------------------------------------------------------------------------


async def test_servers_zones_sessions_and_log_streams_are_told(servers, speaker):
    rows = await speaker.servers(in_time())
    assert [row.address for row in rows] == sorted(map(address, servers), key=in_order(rows))
    assert {row.zone for row in rows} == {"zone1", "zone2", "zone3"}
    assert all(row.serves and not row.stopped and row.status == "ACTIVE" for row in rows)
    assert sum(row.with_rootserver for row in rows) == 1
    zones = await speaker.zones(in_time())
    assert [(zone.name, zone.status) for zone in zones] == [
        (f"zone{number}", "ACTIVE") for number in (1, 2, 3)
    ]
    assert await speaker.session_ids(address(servers[0]), in_time())
    assert {unit.zone for unit in await speaker.units(in_time())} == {zone.name for zone in zones}
    (stream,) = [one for one in await speaker.log_streams(in_time()) if one.tenant == "sys"]
    assert stream.is_whole
    assert len(stream.leader.members) == 3


def in_order(rows):
    places = {row.address: place for place, row in enumerate(rows)}
    return places.__getitem__


async def test_a_log_stream_out_of_sync_is_not_whole(cluster, speaker):
    (stream,) = [one for one in await speaker.log_streams(in_time()) if one.tenant == "sys"]
    behind = next(one for one in stream.leader.members if one != stream.leader.server)
    cluster.knobs.set(out_of_sync=[str(behind)])
    for _ in range(100):
        (stream,) = [one for one in await speaker.log_streams(in_time()) if one.tenant == "sys"]
        if not stream.is_whole:
            break
    assert not stream.is_whole
    assert stream.outlives([behind])
    (other,) = stream.leader.members - {behind, stream.leader.server}
    assert not stream.outlives([other])


async def test_servers_are_stopped_and_started_and_repeating_it_is_harmless(servers, speaker):
    one, other = servers[0], servers[3]
    for _ in range(2):
        await speaker.stop_servers([address(one), address(other)], in_time())
        assert [(await row_of(speaker, s)).stopped for s in (one, other, servers[1])] == [
            *(True, True),
            False,
        ]
    for _ in range(2):
        await speaker.start_servers([address(one), address(other)], in_time())
        assert not (await row_of(speaker, one)).stopped


async def test_a_zone_is_stopped_and_started_and_repeating_it_is_harmless(speaker):
    for _ in range(2):
        await speaker.stop_zone("zone2", in_time())
        zones = {zone.name: zone.status for zone in await speaker.zones(in_time())}
        assert zones == {"zone1": "ACTIVE", "zone2": "INACTIVE", "zone3": "ACTIVE"}
    for _ in range(2):
        await speaker.start_zone("zone2", in_time())
        assert all(zone.status == "ACTIVE" for zone in await speaker.zones(in_time()))


async def test_a_refusal_of_the_cluster_has_its_number(servers, speaker, cluster, make_cluster):
    async def number(refused) -> int:
        with pytest.raises(Refused) as refusal:
            await refused
        assert refusal.value.code is errors.MYSQL_ERROR
        assert f"({refusal.value.number})" in str(refusal.value)
        return refusal.value.number

    at = [address(server) for server in servers]
    assert await number(speaker.delete_zone("zone1", in_time())) == 4668
    assert await number(speaker.stop_zone("zone9", in_time())) == 4530
    assert await number(speaker.stop_servers([Address("127.0.0.9", 1234)], in_time())) == 4630
    await speaker.stop_zone("zone1", in_time())
    assert await number(speaker.stop_servers([at[1]], in_time())) == 4660
    assert await number(speaker.stop_zone("zone2", in_time())) == 4660
    new = make_cluster("zone1").nodes[0]
    new.start()
    adding = speaker.add_server(Address(new.ip, new.rpc_port), "zone1", in_time())
    assert await number(adding) == 4655
    await speaker.start_zone("zone1", in_time())
    cluster.nodes[1].kill()
    assert await number(speaker.stop_zone("zone3", in_time())) == 4179


async def test_a_server_that_was_stopped_by_sql_comes_back_from_a_crash_stopped(servers, cluster):
    """The process is kept alive; whether it serves is the operator's to say."""
    server, speaker = servers[0], servers[1].engine.cluster
    await speaker.stop_servers([address(server)], in_time())
    before = await server.pid()

    class Wanted:
        server_wanted, has_order, failed_start = True, False, None
        server_settings = (
            f'{{"mysql_port": {server.config.mysql_port}, "rpc_port": {server.config.rpc_port}}}'
        )
        view = ClusterView(own=Address("127.0.0.1", 2886))

    keeper = ServerKeeper(server.engine, Wanted, start_timeout_s=30)
    await keeper.resume()
    try:
        cluster.nodes[0].kill()
        for _ in range(200):  # until it has been started again
            row = await row_of(speaker, server)
            process = await server.engine.process()
            if process is not None:
                process.close()
                if row.status == "ACTIVE" and process.pid != before and row.serves:
                    break
            await asyncio.sleep(0.05)
    finally:
        await keeper.close()
    assert process.pid != before
    assert row.serves
    assert row.stopped


# --- minor freeze --------------------------------------------------------------------------------


async def test_a_freeze_is_done_when_the_checkpoint_has_passed_what_was_written(server, speaker):
    server.lines.clear()
    ends = await speaker.log_ends(address(server), in_time())
    assert ends
    await server.engine.minor_freeze(server.lines.append, in_time())
    after = await speaker.checkpoints(address(server), in_time())
    assert all(after[one] >= end for one, end in ends.items())
    assert server.lines[0] == f"freezing {len(ends)} log streams"
    assert server.lines[-1] == "all that was committed before is in the data files"


async def test_a_freeze_that_never_ends_is_an_error_in_time(server, cluster):
    cluster.knobs.set(freeze_never=True)
    with pytest.raises(errors.OBShellError) as late:
        await server.engine.minor_freeze(print, Deadline.after(3))
    assert late.value.code is errors.MINOR_FREEZE_TIMEOUT


async def test_a_freeze_ends_with_its_server(server, cluster):
    cluster.knobs.set(freeze_never=True)
    freezing = asyncio.create_task(server.engine.minor_freeze(server.lines.append, in_time()))
    await asyncio.to_thread(eventually, lambda: server.lines)
    cluster.nodes[0].kill()
    with pytest.raises(errors.OBShellError) as failed:
        await freezing
    assert failed.value.code is errors.SERVER_UNAVAILABLE
