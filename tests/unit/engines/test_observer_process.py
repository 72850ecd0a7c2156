"""A number in a pid file is believed only of the right program in the right place."""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from pyobshell import errors
from pyobshell.engines.observer_process import open_observer

SLEEP = Path("/bin/sleep").resolve()


@pytest.fixture
def pid_file(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run/observer.pid"


@pytest.fixture
def running(tmp_path, pid_file, holder):
    """Start a program in a directory and note it in the pid file."""

    def start(program=SLEEP, directory=tmp_path):
        process = holder(directory, None, program)
        pid_file.write_text(f"{process.pid}\n")
        return process

    return start


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def found(pid_file, home, program=SLEEP):
    """The pid of what is found; None if nothing is. No descriptor may be left."""
    before = descriptors()
    process = open_observer(pid_file, home, program)
    if process is not None:
        process.close()
    assert descriptors() == before
    return process and process.pid


def test_the_right_process_is_found_with_its_start_time(running, pid_file, tmp_path):
    process = running()
    with open_observer(pid_file, tmp_path, SLEEP) as observer:
        assert observer.pid == process.pid
        assert observer.started == psutil.Process(process.pid).create_time()


def test_without_a_pid_file_there_is_none(pid_file, tmp_path):
    assert found(pid_file, tmp_path) is None


@pytest.mark.parametrize(
    "text", [b"", b"-1", b"0", b"1", b"12x", b"\xff\xfe", b"9" * 30, "١٢".encode(), b"4194303"]
)
def test_what_is_no_number_of_a_process_means_none(text, pid_file, tmp_path):
    pid_file.write_bytes(text)
    assert found(pid_file, tmp_path) is None


def test_a_pid_file_that_cannot_be_read_is_an_error(pid_file, tmp_path):
    pid_file.mkdir()
    with pytest.raises(errors.OBShellError, match="cannot be read") as refused:
        found(pid_file, tmp_path)
    assert refused.value.code is errors.SERVER_PROCESS_CHECK_FAILED


def test_the_number_of_a_process_that_has_ended_means_none(running, pid_file, tmp_path):
    process = running()
    process.kill()
    process.wait()
    assert found(pid_file, tmp_path) is None


def test_a_zombie_is_no_server(running, pid_file, tmp_path):
    process = running()
    pidfd = os.pidfd_open(process.pid)
    process.kill()
    assert select.select([pidfd], [], [], 10)[0]
    os.close(pidfd)
    assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    assert found(pid_file, tmp_path) is None


def test_a_process_that_got_the_number_later_is_not_the_server(running, pid_file, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    running(directory=tmp_path / "elsewhere")
    assert found(pid_file, tmp_path) is None
    running(Path("/bin/tail").resolve())
    assert found(pid_file, tmp_path) is None
    pid_file.write_text("2")  # of the kernel itself, if it can be seen: it has no program
    assert found(pid_file, tmp_path) is None


def test_a_program_replaced_by_an_upgrade_is_still_the_server(running, pid_file, tmp_path):
    program = tmp_path / "observer-new"
    program.write_bytes(SLEEP.read_bytes())
    program.chmod(0o755)
    process = running(program)
    program.unlink()
    assert found(pid_file, tmp_path, program) == process.pid
    # By its place as well as by its name, which is all that is left of it behind a link.
    assert found(pid_file, tmp_path, tmp_path / "bin/observer-new") == process.pid
    assert found(pid_file, tmp_path, tmp_path / "bin/observer") is None


def test_a_program_reached_by_a_link_of_another_name_is_found(running, pid_file, tmp_path):
    (tmp_path / "observer").symlink_to(SLEEP)
    process = running()
    assert found(pid_file, tmp_path, tmp_path / "observer") == process.pid


def test_a_script_is_known_by_its_name_not_by_its_interpreter(pid_file, tmp_path):
    script = tmp_path / "observer"
    script.write_text("#!/bin/sh\nread line\n")
    script.chmod(0o755)
    process = subprocess.Popen([script], cwd=tmp_path, stdin=subprocess.PIPE)
    pid_file.write_text(str(process.pid))
    try:
        end = time.monotonic() + 10
        while found(pid_file, tmp_path, script) is None:  # until it has become the script
            assert time.monotonic() < end
        assert found(pid_file, tmp_path, tmp_path / "server") is None
    finally:
        process.communicate()


def test_a_server_of_another_user_is_neither_ours_nor_away(
    running, pid_file, tmp_path, monkeypatch
):
    process = running()

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "readlink", refuse)
    with pytest.raises(errors.OBShellError, match=f"process {process.pid} belongs to another user"):
        open_observer(pid_file, tmp_path, Path("/bin/sleep"))
    assert open_observer(pid_file, tmp_path, Path("/bin/other")) is None
