"""Processes to look at, each ended with its test."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HOLD = """
import fcntl, os, sys, time
os.chdir(sys.argv[2])
if sys.argv[1] != "-":
    file = open(sys.argv[1], "a")
    fcntl.lockf(file, fcntl.LOCK_EX)
    os.set_inheritable(file.fileno(), True)  # locks outlive an exec, if their file does
if sys.argv[3:]:
    os.set_inheritable(1, False)
    os.execv(sys.argv[3], ["server", "600"])
os.close(1)
time.sleep(600)
"""


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ]
)
def anyio_backend(request):
    return request.param


@pytest.fixture
def holder():
    """Start processes that work in a directory, lock a file if given, run a program if given."""
    started = []

    def start(directory, lock=None, *program):
        words = [sys.executable, "-c", _HOLD, lock or "-", directory, *program]
        process = subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.read() == b""  # it has got that far, or is another program by now
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
