"""An observer is deployed, started, stopped and removed, and nobody else is taken for it."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.engines import ObState
from pyobshell.engines.occupied import holders_of, port_is_free
from support.observers import ObserverServer, in_time

pytestmark = pytest.mark.anyio


@pytest.fixture
async def alone(make_cluster):
    """Make a server that was neither deployed nor started, in no cluster."""
    made = []

    def make(*, ip="127.0.0.1", **config) -> ObserverServer:
        node = make_cluster("zone1").nodes[0]
        node.ip = ip
        made.append(ObserverServer.of(node, **config))
        return made[-1]

    yield make
    for server in made:
        await server.engine.close()


@pytest.fixture(scope="module")
def shared_node(make_cluster):
    return make_cluster("zone1").nodes[0]


@pytest.fixture
async def server(shared_node):
    """A server that runs; tests may leave it in any state."""
    server = ObserverServer.of(shared_node)
    server.faults.clear()
    await (server.start() if server.engine.is_initialized() else server.first_start())
    yield server
    await server.engine.close()


async def test_a_life_from_deployment_to_removal(alone, tmp_path):
    server = alone(
        data_dir=tmp_path / "data",
        redo_dir=tmp_path / "redo",
        log_level="INFO",
        parameters={"memory_limit": "6G", "rootPwd": "secret"},
    )
    engine = server.engine
    assert await engine.version() == "4.3.5.3-103000012025070411"
    assert await engine.state() is ObState.PROCESS_NOT_RUNNING
    assert not engine.is_initialized()

    pid = await server.first_start()
    assert int((server.home / "run/observer.pid").read_text()) == pid
    assert (tmp_path / "data/sstable/block_file").is_file()
    assert server.lines[-1] == f"process {pid} accepts SQL"
    assert "-l INFO -o memory_limit=6G" in server.lines[1]
    assert not any("secret" in line for line in server.lines)
    assert engine.recorded().mysql_port == server.config.mysql_port
    assert await engine.state() is ObState.CONNECTION_RESTRICTED  # before BOOTSTRAP
    assert await engine.login("")
    assert not await engine.login("wrong")

    with pytest.raises(errors.OBShellError, match="a server runs in"):
        await engine.destroy(server.config, print)
    await server.kill()
    assert await engine.state() is ObState.PROCESS_NOT_RUNNING
    assert port_is_free(server.config.mysql_port)
    assert port_is_free(server.config.rpc_port)
    assert holders_of([tmp_path]) == []

    server.lines.clear()
    assert await server.start() != pid
    assert server.lines[0].startswith("starting ")
    assert server.lines[0].endswith("/observer")
    await server.kill()
    await engine.destroy(server.config, print)
    assert list(tmp_path.iterdir()) == []
    assert [path.name for path in server.home.iterdir()] == [".obshell"]  # the agent's
    assert not engine.is_initialized()


async def test_a_server_that_runs_is_not_started_again(server):
    pid = await server.pid()
    await asyncio.gather(*(server.start() for _ in range(3)))
    assert await server.pid() == pid
    assert f"the server runs already as process {pid}" in server.lines


async def test_starts_at_the_same_time_start_one(server):
    await server.kill()
    server.lines.clear()
    pids = await asyncio.gather(*(server.start() for _ in range(3)))
    assert len(set(pids)) == 1
    assert len([line for line in server.lines if line.startswith("starting")]) == 1


@pytest.mark.parametrize("how", ["kill", "terminate"])
async def test_death_is_an_event(how, server):
    waiting = asyncio.create_task(server.engine.wait_death())
    await asyncio.sleep(0)
    assert not waiting.done()
    await getattr(server.engine, how)(server.config, print, in_time())
    await waiting
    await server.engine.wait_death()  # at once if there is none
    await getattr(server.engine, how)(server.config, print, in_time())


async def test_a_server_that_ignores_sigterm_is_left_alone(server):
    server.faults.set(ignore_sigterm=True)
    pid = await server.pid()
    with pytest.raises(errors.OBShellError) as late:
        await server.engine.terminate(server.config, print, Deadline.after(0.3))
    assert late.value.code is errors.CLUSTER_ASYNC_TIMEOUT
    assert await server.pid() == pid


async def test_a_paused_server_answers_nothing_and_can_be_killed(server):
    await server.engine.state()  # leaves a connection idle
    with await server.engine.process() as process:
        process.send(signal.SIGSTOP)
        began = time.monotonic()
        assert await server.engine.state() is ObState.PROCESS_RUNNING
        assert time.monotonic() - began < 3
        await server.kill()
        assert process.ended


@pytest.mark.parametrize("port", ["mysql_port", "rpc_port"])
async def test_a_port_that_is_taken_is_told_before_the_start(port, alone):
    server = alone()
    number = getattr(server.config, port)
    with (
        socket.create_server(("127.0.0.1", number)),
        pytest.raises(errors.OBShellError, match=f"port {number} is in use"),
    ):
        await server.engine.check_start(server.config)
    await server.engine.check_start(server.config)


async def test_a_port_that_is_taken_is_told_before_a_restart_too(server):
    await server.kill()
    with socket.create_server(("127.0.0.1", server.config.mysql_port)):
        with pytest.raises(errors.OBShellError, match="is in use"):
            await server.start()
        with pytest.raises(errors.OBShellError, match="is still in use"):
            await server.kill()


async def test_what_ends_while_starting_is_told_with_its_last_words(alone):
    server = alone(parameters={"cluster_id": "no matter"}, data_dir=Path("data"))
    await server.engine.deploy(server.config, print)
    (server.home / "data/sstable").rmdir()
    (server.home / "data/sstable").touch()
    with pytest.raises(errors.OBShellError, match=r"did not start \(exit code 1\).*sstable"):
        await server.start()
    assert await server.engine.state() is ObState.PROCESS_NOT_RUNNING


async def test_a_first_start_that_was_cut_off_is_made_again_with_all_options(server):
    await server.kill()
    block_file = server.home / "store/sstable/block_file"
    block_file.unlink()
    note = server.home / ".obshell/first-start"
    assert not note.exists()
    # It has been a server with data: it must not come back as an empty one.
    for attempt in (server.start(), server.engine.check_start(server.config)):
        with pytest.raises(errors.OBShellError, match="block_file is missing"):
            await attempt
    assert not block_file.exists()
    note.touch()
    server.lines.clear()
    await server.start()
    assert f"-p {server.config.mysql_port}" in server.lines[0]
    assert block_file.exists()
    assert not note.exists()


async def test_no_password_goes_to_another_server_on_its_port(server, alone):
    other = alone()
    await other.first_start()
    record = server.home / "etc/observer.config.bin"
    right = record.read_bytes()
    ours, theirs = (str(one.config.mysql_port).encode() for one in (server, other))
    record.write_bytes(right.replace(b"mysql_port=" + ours, b"mysql_port=" + theirs))
    try:
        wrong = ObserverServer(type(server.engine)(server.home, None, server.home), server.config)
        assert await wrong.engine.state() is ObState.PROCESS_RUNNING
        with pytest.raises(errors.OBShellError, match=f"does not listen on port {theirs.decode()}"):
            await wrong.engine.login("secret")
    finally:
        record.write_bytes(right)
    assert await server.engine.login("")


async def test_a_stranger_with_its_number_is_not_signalled(server):
    await server.kill()
    stranger = psutil.Popen(["sleep", "600"], cwd="/")
    try:
        (server.home / "run/observer.pid").write_text(str(stranger.pid))
        assert await server.engine.state() is ObState.PROCESS_NOT_RUNNING
        await server.kill()
        assert stranger.poll() is None
        await server.start()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_server_without_its_pid_file_is_found_by_its_data(server):
    pid = await server.pid()
    pid_file = server.home / "run/observer.pid"
    aside = pid_file.rename(pid_file.with_name("aside"))
    try:
        for attempt in (server.kill(), server.start()):
            with pytest.raises(errors.OBShellError, match=f"process {pid} .* has the data files"):
                await attempt
    finally:
        aside.rename(pid_file)
    assert await server.pid() == pid


async def test_what_it_writes_is_for_its_own_user_alone(server):
    files = (server.home / "store/sstable", server.home / "store/sstable/block_file")
    assert [oct(file.stat().st_mode & 0o077) for file in files] == ["0o0", "0o0"]


@pytest.mark.long
@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_a_server_of_ipv6_is_asked_at_its_loopback(alone):
    server = alone(ip="::1")
    await server.first_start()
    assert await server.engine.state() is ObState.CONNECTION_RESTRICTED
    assert "--ipv6" in server.lines[1]
    address = f"[::1]:{server.config.rpc_port}"
    cluster = server.engine.cluster
    place = server.engine.recorded()
    await cluster.bootstrap([(place.zone, Address(place.ip, place.rpc_port))], in_time())
    (row,) = await cluster.servers(in_time())
    assert str(row.address) == address
    assert all(one.is_whole for one in await cluster.log_streams(in_time()))
    await server.engine.minor_freeze(print, in_time())
    await server.kill()
