"""An agent that crashes leaves no core, in which its secrets would lie; a server leaves one."""

from __future__ import annotations

import os
import sys

import pytest

_CRASH = """
import os, resource, sys
from pyobshell.engines import cores
from pyobshell.engines.launching import run_program
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
if sys.argv[1] == "agent":
    cores.give_up()
    given_up = resource.getrlimit(resource.RLIMIT_CORE)[0]
    assert given_up == 1 or hard == 0, given_up
    limit = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    code, printed = run_program([sys.executable, "-c", limit])
    assert (code, printed.strip()) == (0, str(hard)), printed
    assert resource.getrlimit(resource.RLIMIT_CORE)[0] in (0, 1)
    assert os.access("/proc/self/exe", os.R_OK)
os.abort()
"""


def crash(who, directory):
    """Whether a core was made of a process that crashes in a directory."""
    pid = os.fork()
    if pid == 0:
        os.chdir(directory)
        os.execv(sys.executable, [sys.executable, "-c", _CRASH, who])
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status)  # not the end by an assertion
    return os.WCOREDUMP(status)


def test_no_core_is_made_of_an_agent_and_its_server_has_the_limit_it_would_have_had(tmp_path):
    assert not crash("agent", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_of_another_process_a_core_is_made_here(tmp_path):
    if not crash("another", tmp_path):
        pytest.skip("on this host no cores are made at all")
