"""A real server is deployed, started, stopped and removed, and keeps its data meanwhile."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.engines import ObState, seekdb

pytestmark = pytest.mark.anyio


def of_process(pid: int) -> tuple[bytes, list[Path]]:
    """The environment of a process and what it has open."""
    process = Path(f"/proc/{pid}")
    files = []
    for descriptor in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            files.append(descriptor.readlink())
    return (process / "environ").read_bytes(), files


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("how", ["kill", "terminate"])
async def test_data_outlives_the_server(how, server):
    table = f"test.{how}"
    server.rows(f"create table {table}(a int primary key)", f"insert into {table} values (7)")
    before = await server.pid()
    await getattr(server.engine, how)(server.config, server.lines.append, Deadline.after(30))
    assert await server.engine.state() is ObState.PROCESS_NOT_RUNNING
    assert server.engine.is_initialized()
    assert await server.start() != before
    assert await server.engine.state() is ObState.CONNECTION_AVAILABLE
    assert server.rows(f"select a from {table}") == ((7,),)


async def test_what_was_set_in_the_server_outlives_a_restart(server):
    server.rows("alter system set memory_budget = '1200M'")
    await server.kill()
    await server.start()
    assert server.rows("show parameters where name = 'memory_budget'")[0][3] == "1200M"


async def test_a_running_server_is_left_alone_by_a_start(server):
    before = await server.pid()
    assert await server.start() == before
    assert f"the server runs already as process {before}" in server.lines


async def test_a_running_server_passes_the_checks_for_a_start(server):
    await server.engine.check_start(server.config)


async def test_a_server_that_is_dying_is_awaited_by_a_start(server):
    with await server.engine.process() as process:
        process.send(9)
        assert await server.start() != process.pid
        assert process.ended


async def test_the_death_of_a_server_is_an_event(server):
    with await server.engine.process() as process:
        death = asyncio.create_task(server.engine.wait_death())
        process.send(9)
        await death
        assert process.ended
    await server.engine.wait_death()  # of nobody: at once
    await server.start()


async def test_a_server_knows_no_secrets_and_sends_no_reports(server, monkeypatch):
    monkeypatch.setenv("OB_ROOT_PASSWORD", "secret")
    await server.kill()
    pid = await server.start()
    environment, files = of_process(pid)
    assert b"TELEMETRY_ENABLED=false" in environment
    assert b"secret" not in environment
    mine = (server.home, Path("/dev"))
    assert [file for file in files if file.is_absolute() and not set(mine) & {*file.parents}] == []


async def test_two_starts_at_once_end_with_one_server(make_server):
    server = make_server()
    first, second = await asyncio.gather(server.start(), server.start())
    assert first == second
    assert server.rows("select 1") == ((1,),)
    await server.kill()


async def test_a_long_home_with_directories_elsewhere_comes_and_goes_without_a_trace(make_server):
    server = make_server("h" * 130, data_dir=Path("../data"), redo_dir=Path("../redo"))
    base = server.home.parent
    await server.engine.deploy(server.config, server.lines.append)
    await server.start()
    assert await server.engine.state() is ObState.CONNECTION_AVAILABLE
    assert (base / "data/sstable/block_file").exists()
    assert (base / "redo/sys").exists()
    with pytest.raises(errors.OBShellError, match="has the data files"):
        await server.engine.destroy(server.config, server.lines.append)
    with pytest.raises(errors.OBShellError, match="is not empty"):
        await server.engine.deploy(server.config, server.lines.append)
    await server.kill()
    await server.engine.destroy(server.config, server.lines.append)
    left = {str(path.relative_to(base)) for path in base.rglob("*")}
    assert left == {server.home.name, f"{server.home.name}/run", "state"}


async def test_a_taken_port_is_named(make_server):
    server = make_server()
    port = server.config.mysql_port
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(errors.OBShellError, match=f"port {port} is in use"),
    ):
        await server.start()
    assert not server.home.exists()


async def test_a_port_that_is_taken_while_it_starts_is_an_error(make_server, monkeypatch):
    server = make_server()
    monkeypatch.setattr(seekdb, "check_start", lambda *_: None)  # it was free when looked at
    port = server.config.mysql_port
    with (
        socket.create_server(("0.0.0.0", port)),
        pytest.raises(errors.OBShellError, match=f"while starting: port {port} is in use"),
    ):
        await server.start()


async def test_a_launcher_that_fails_is_explained(make_server):
    server = make_server()
    server.home.mkdir()
    (server.home / "log").touch()  # where it wants a directory
    with pytest.raises(errors.OBShellError, match=r"\(exit code \d+\)") as failed:
        await server.start()
    assert failed.value.code is errors.SERVER_UNAVAILABLE


async def test_a_server_that_ends_while_starting_is_an_error(make_server):
    server = make_server(log_level="INFO", parameters={"log_disk_size": "1G"})
    # Its log may lack the last lines, since it does not wait for them when it ends.
    reasons = r"ended while starting: (.* ERROR |no reason is in .*log)"
    with pytest.raises(errors.OBShellError, match=reasons) as failed:
        await server.start()
    assert failed.value.code is errors.SERVER_UNAVAILABLE
    assert await server.engine.state() is ObState.PROCESS_NOT_RUNNING


async def test_another_home_in_the_configuration_is_refused(make_server):
    server, other = make_server(), make_server()
    with pytest.raises(errors.OBShellError, match="home"):
        await server.engine.start(other.config, print, Deadline.after(1))


async def test_nothing_is_left_open_by_all_of_this(server):
    async def descriptors() -> int:
        await server.engine.state()
        with await server.engine.process() as process:
            await process.wait_end(Deadline.after(0.01))
        return count_descriptors()

    before = await descriptors()
    assert [await descriptors() for _ in range(20)] == [before] * 20
