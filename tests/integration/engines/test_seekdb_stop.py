"""A stop ends the right process and no other, and says done only when it is."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.engines import ObState
from pyobshell.engines.occupied import holders_of, port_is_free

pytestmark = pytest.mark.anyio

_LOCK = """
import fcntl, os, sys, time
os.chdir(sys.argv[1])
file = open("run/seekdb.pid", "a")
fcntl.lockf(file, fcntl.LOCK_EX)
os.close(1)
time.sleep(600)
"""


@pytest.fixture
def stranger(make_server):
    """A home of no server, and somebody else's process that locks its pid file or does not."""
    started = []

    def start(*, locks):
        server = make_server()
        (server.home / "run").mkdir(parents=True)
        code = _LOCK if locks else "import os, time; os.close(1); time.sleep(600)"
        words = [sys.executable, "-c", code, str(server.home)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.read() == b""
        (server.home / "run/seekdb.pid").write_text(str(process.pid))
        return server, process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def thread_states(pid: int) -> set[str]:
    """One letter for each thread, as the kernel puts it after the name in parentheses."""
    files = Path(f"/proc/{pid}/task").glob("*/stat")
    return {file.read_text().rpartition(")")[2].split()[0] for file in files}


async def pause(process) -> None:
    """Stop a process and all its threads; the signal alone does not wait for them."""

    async def all_stopped() -> bool:
        return thread_states(process.pid) == {"T"}

    process.send(signal.SIGSTOP)
    assert await process.until(all_stopped, Deadline.after(30), pace=0.01)


async def test_when_a_kill_returns_process_port_and_files_are_free(server):
    await server.start()
    began = time.monotonic()
    await server.kill()
    took = time.monotonic() - began
    assert port_is_free(server.config.mysql_port)
    assert holders_of([server.home]) == []
    assert took < 1


@pytest.mark.parametrize("how", ["kill", "terminate"])
async def test_a_stopped_server_is_a_success(how, make_server):
    server = make_server()
    await getattr(server.engine, how)(server.config, print, Deadline.after(1))


async def test_a_paused_server_answers_no_sql_ignores_terminate_and_can_be_killed(server):
    await server.start()
    assert await server.engine.state() is ObState.CONNECTION_AVAILABLE  # leaves a connection idle
    with await server.engine.process() as process:
        try:
            await pause(process)
            began = time.monotonic()
            assert await server.engine.state() is ObState.PROCESS_RUNNING
            assert time.monotonic() - began < 3
            with pytest.raises(errors.OBShellError) as late:
                await server.engine.terminate(
                    server.config, server.lines.append, Deadline.after(0.5)
                )
            assert late.value.code is errors.CLUSTER_ASYNC_TIMEOUT
            assert not process.ended
        finally:
            await server.kill()
        assert process.ended


@pytest.mark.long
async def test_what_was_open_and_flushed_is_rolled_back_and_locks_nothing_afterwards(server):
    await server.start()
    server.rows(
        "create table if not exists test.locked (n int primary key, v longtext)",
        "replace into test.locked values (1, 'before')",
    )
    with server.client() as other, other.cursor() as cursor:
        cursor.execute("begin")
        cursor.execute(f"update test.locked set v = '{'x' * 100_000}'")
        await server.engine.minor_freeze(server.lines.append, Deadline.after(60))
        await server.engine.end_transactions(server.lines.append, Deadline.after(30))
        await server.kill()
    await server.start()
    server.rows(
        "set ob_query_timeout = 5000000", "update test.locked set v = 'after' where v = 'before'"
    )
    assert server.rows("select v from test.locked") == (("after",),)


async def test_no_open_transaction_is_nothing_to_roll_back(server):
    await server.start()
    server.lines.clear()
    with server.client() as other, other.cursor() as cursor:
        await server.engine.end_transactions(server.lines.append, Deadline.after(30))
        assert cursor.execute("select 1") == 1
    assert server.lines == []
    await server.kill()
    await server.engine.end_transactions(server.lines.append, Deadline.after(30))


async def test_a_server_without_its_pid_file_is_found_by_its_data(server):
    pid = await server.start()
    pid_file = server.home / "run/seekdb.pid"
    aside = pid_file.rename(pid_file.with_name("aside"))
    try:
        for attempt in (server.kill(), server.start()):
            with pytest.raises(errors.OBShellError, match=f"process {pid} .*seekdb") as refused:
                await attempt
            assert refused.value.code is errors.SERVER_PROCESS_CHECK_FAILED
    finally:
        aside.rename(pid_file)
    assert await server.pid() == pid
    await server.kill()


async def test_a_process_whose_number_is_in_the_pid_file_is_not_touched(stranger):
    server, process = stranger(locks=False)
    await server.kill()
    assert process.poll() is None


async def test_a_process_that_is_not_the_server_is_not_touched_though_it_has_the_lock(stranger):
    server, process = stranger(locks=True)
    for attempt in (server.kill(), server.start()):
        with pytest.raises(errors.OBShellError, match=f"process {process.pid} runs") as refused:
            await attempt
        assert refused.value.code is errors.SERVER_PROCESS_CHECK_FAILED
    assert await server.engine.state() is ObState.PROCESS_RUNNING
    assert process.poll() is None


async def test_a_stop_is_not_done_while_somebody_else_has_the_port(server):
    await server.start()
    await server.kill()
    with socket.create_server(("", server.config.mysql_port)):
        with pytest.raises(errors.OBShellError, match=r"port \d+ is still in use") as refused:
            await server.kill()
        assert refused.value.code is errors.SERVER_PROCESS_CHECK_FAILED
    await server.kill()


async def test_what_a_server_writes_is_for_its_own_user_alone(server):
    await server.start()
    await server.kill()
    written = [path for path in (server.home / "store").rglob("*") if not path.is_symlink()]
    assert len(written) > 5
    assert [path for path in written if path.stat().st_mode & 0o077] == []


async def test_two_kills_at_once_both_end_when_the_server_has(server):
    await server.start()
    await asyncio.gather(server.kill(), server.kill())
    assert await server.engine.state() is ObState.PROCESS_NOT_RUNNING
