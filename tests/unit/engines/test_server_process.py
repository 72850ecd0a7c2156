"""A process is what its lock, program and directory say; its end is an event."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.engines.process import (
    ServerEnded,
    lock_owner,
    open_verified,
    take_lock,
)

PYTHON = Path(sys.executable)


def descriptors():
    """The open files of this process, but for the one that is open while they are listed."""
    return {entry.name for entry in Path("/proc/self/fd").iterdir() if entry.exists()}


@pytest.fixture
def pid_file(tmp_path):
    file = tmp_path / "run/seekdb.pid"
    file.parent.mkdir()
    return file


def test_a_missing_pid_file_has_no_owner(pid_file):
    assert lock_owner(pid_file) is None


def test_a_number_in_the_pid_file_is_not_believed(pid_file, holder, tmp_path):
    pid_file.write_text(str(holder(tmp_path).pid))
    assert lock_owner(pid_file) is None
    assert open_verified(pid_file, tmp_path, PYTHON) is None


def test_the_owner_is_the_process_that_holds_the_lock(pid_file, holder, tmp_path):
    process = holder(tmp_path, pid_file)
    pid_file.write_text("1")
    assert lock_owner(pid_file) == process.pid


def test_an_unreadable_pid_file_is_an_error(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(errors.OBShellError, match="cannot be read"):
        lock_owner(loop)


def test_the_right_process_is_opened_with_its_start_time(pid_file, holder, tmp_path):
    process = holder(tmp_path, pid_file)
    with open_verified(pid_file, tmp_path, PYTHON) as found:
        assert found.pid == process.pid
        assert found.started > 0
        assert not found.ended


@pytest.mark.parametrize("later", [None, 1], ids=["gone", "another"])
def test_a_lock_that_changes_while_it_is_looked_at_is_not_trusted(
    later, pid_file, holder, tmp_path, monkeypatch
):
    answers = iter([holder(tmp_path, pid_file).pid, later])
    monkeypatch.setattr("pyobshell.engines.process.lock_owner", lambda _: next(answers))
    before = descriptors()
    if later is None:
        assert open_verified(pid_file, tmp_path, PYTHON) is None
    else:
        with pytest.raises(errors.OBShellError, match="changed hands"):
            open_verified(pid_file, tmp_path, PYTHON)
    assert descriptors() == before


@pytest.mark.parametrize(
    ("home", "program", "reason"),
    [("elsewhere", PYTHON, "works in"), (".", Path("/bin/true"), "runs .*python")],
    ids=["directory", "program"],
)
def test_another_process_with_the_lock_is_refused(
    home, program, reason, pid_file, holder, tmp_path
):
    (tmp_path / "elsewhere").mkdir()
    process = holder(tmp_path, pid_file)
    with pytest.raises(errors.OBShellError, match=reason) as refused:
        open_verified(pid_file, tmp_path / home, program)
    assert refused.value.code is errors.SERVER_PROCESS_CHECK_FAILED
    assert process.poll() is None


def test_a_program_replaced_by_an_upgrade_is_still_the_same(pid_file, holder, tmp_path):
    program = tmp_path / "server"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    process = holder(tmp_path, pid_file, program)
    program.unlink()
    program.write_text("the new one")
    with open_verified(pid_file, tmp_path, program) as found:
        assert found.pid == process.pid


def test_a_lock_of_our_own_keeps_servers_out_and_others_from_guessing(pid_file, tmp_path):
    descriptor = take_lock(pid_file)
    try:
        with pytest.raises(errors.OBShellError, match="cannot be seen from here"):
            open_verified(pid_file, tmp_path, PYTHON)
        with pytest.raises(errors.OBShellError, match="stop it first"):
            take_lock(pid_file)
    finally:
        os.close(descriptor)
    assert lock_owner(pid_file) is None


def test_the_lock_of_a_server_cannot_be_taken(pid_file, holder, tmp_path):
    holder(tmp_path, pid_file)
    with pytest.raises(errors.OBShellError, match="stop it first"):
        take_lock(pid_file)


def test_closing_twice_closes_nothing_else(pid_file, holder, tmp_path):
    holder(tmp_path, pid_file)
    found = open_verified(pid_file, tmp_path, PYTHON)
    found.close()
    with (tmp_path / "other").open("w") as other:  # gets the number that has become free
        found.close()
        other.write("still open")


@pytest.mark.anyio
async def test_the_end_of_a_process_wakes_all_who_wait_for_it(pid_file, holder, tmp_path):
    process = holder(tmp_path, pid_file)
    with open_verified(pid_file, tmp_path, PYTHON) as found:
        async with asyncio.TaskGroup() as waiting:
            waits = [waiting.create_task(found.wait_end()) for _ in range(3)]
            found.send(signal.SIGTERM)
        assert [wait.result() for wait in waits] == [True] * 3
        assert found.ended
        found.send(signal.SIGTERM)
        assert not psutil.pid_exists(found.pid)  # not even as a zombie, though it was our child
    process.wait()


@pytest.mark.anyio
async def test_waiting_for_the_end_ends_with_the_deadline(pid_file, holder, tmp_path):
    process = holder(tmp_path, pid_file)
    with open_verified(pid_file, tmp_path, PYTHON) as found:
        assert await found.wait_end(Deadline.after(0.02)) is False
        process.kill()
        assert await found.wait_end(Deadline.after(10)) is True


@pytest.mark.anyio
async def test_a_cancelled_wait_leaves_no_descriptor_behind(pid_file, holder, tmp_path):
    holder(tmp_path, pid_file)
    with open_verified(pid_file, tmp_path, PYTHON) as found:
        before = descriptors()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await found.wait_end()
        assert descriptors() == before


@pytest.mark.anyio
async def test_asking_ends_with_the_answer_the_deadline_or_the_process(pid_file, holder, tmp_path):
    process = holder(tmp_path, pid_file)
    answers = iter([False, False, True])

    async def third() -> bool:
        return next(answers)

    async def never() -> bool:
        return False

    with open_verified(pid_file, tmp_path, PYTHON) as found:
        assert await found.until(third, Deadline.after(10), pace=0.001) is True
        assert await found.until(never, Deadline.after(0.01), pace=0.001) is False
        process.kill()
        with pytest.raises(ServerEnded):
            await found.until(never, Deadline.after(10))


@pytest.mark.anyio
async def test_a_question_that_fails_is_the_error_unless_time_is_up(pid_file, holder, tmp_path):
    holder(tmp_path, pid_file)

    async def fails() -> bool:
        raise errors.SERVER_UNAVAILABLE(reason="it is mute")

    with open_verified(pid_file, tmp_path, PYTHON) as found:
        with pytest.raises(errors.OBShellError, match="it is mute"):
            await found.until(fails, Deadline.after(10))
        assert await found.until(fails, Deadline.after(0)) is False
