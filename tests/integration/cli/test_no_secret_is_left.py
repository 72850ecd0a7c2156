"""Passwords that went through an agent's whole life are in no file, process list or output."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import stat
from pathlib import Path

import psutil
import pytest

from pyobshell.cli.sandbox import ports
from pyobshell.engines.process import lock_owner

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

ROOT, WRONG, PROXYRO, AGENT, NEXT = (
    f"canary-of-{name}-7c1f" for name in ("root", "wrong", "ro", "agent", "next")
)
SECRETS = [
    form
    for word in (ROOT, WRONG, PROXYRO, AGENT, NEXT)
    for form in (word.encode(), base64.b64encode(word.encode()).rstrip(b"="))
]
# What the server writes is the server's: it checks passwords, and needs some of them.
OF_SERVER = ("store", "data", "redo", "etc")


def found_in(content: bytes) -> list[bytes]:
    return [secret for secret in SECRETS if secret in content]


def leaks(directory: Path) -> list[tuple[Path, list[bytes]]]:
    """Files of the agent and of who uses it in which a secret is found."""
    files = [
        file
        for file in directory.rglob("*")
        if file.is_file() and file.relative_to(directory).parts[0] not in OF_SERVER
    ]
    assert len(files) > 5
    return [(file, found) for file in files if (found := found_in(file.read_bytes()))]


def shown_by_kernel(processes: list[psutil.Process]) -> bytes:
    """What the kernel shows of processes to others, and to their own user."""
    parts = [Path(f"/proc/{one.pid}") for one in processes]
    return b"".join((part / name).read_bytes() for part in parts for name in ("cmdline", "environ"))


@pytest.fixture
def home(obshell, tmp_path):
    home = tmp_path / "home"
    yield home
    obshell("agent", "stop", "--base-dir", home)
    server = lock_owner(home / "run/seekdb.pid")
    if server is not None:
        os.kill(server, signal.SIGKILL)


def test_whatever_an_agent_does_with_them(obshell, home, tmp_path, processes_in, ended):
    at = ("--base-dir", home)
    files = {}
    secrets = {"wrong": WRONG, "proxyro": PROXYRO, "root": ROOT, "agent": AGENT, "next": NEXT}
    for name, secret in secrets.items():
        files[name] = tmp_path / name
        files[name].write_text(secret + "\n")
        files[name].chmod(0o600)
    said = []

    def run(*words, exit_code=0, **environment):
        done = obshell(*words, exit_code=exit_code, **environment)
        said.append((done.stdout + done.stderr).encode())
        return done

    with ports.hold(3) as (port, sql_port, rpc_port):
        own = f"127.0.0.1:{port}"
        given = {"OB_ROOT_PASSWORD": ROOT, "OB_AGENT_PASSWORD": AGENT}
        run("agent", "start", *at, "--ip", "127.0.0.1", "--port", port, **given)
        run("cluster", "join", *at, "-s", own, "-z", "zone1", "-p", sql_port, "-P", rpc_port)
        words = ("-n", "mine", "-i", 7, "-o", "memory_budget=1G", "--create-proxyro-user")
        words = (*words, "--proxyro-password-file", files["proxyro"])
        with socket.create_server(("", sql_port), reuse_port=False):  # a task that fails
            failed = run("cluster", "init", *at, *words, exit_code=1, OB_ROOT_PASSWORD=ROOT)
        (task,) = set(re.findall(r"-i (\d+)", failed.stdout))
        run("task", "show", *at, "-i", task)
        run("task", "retry", *at, "-i", task, "-y")
        # Logins that fail, and requests that do not fit, with secrets where they belong.
        for file in (files["wrong"], files["root"]):
            there = ("--host", own, "--password-file", file)
            run("cluster", "show", *there, exit_code=0 if file == files["root"] else 3)
        run("cluster", "init", *at, *words, exit_code=3, OB_ROOT_PASSWORD=ROOT)
        # What is the agent's own: its password is used, missed, changed, and gone.
        for name, exit_code in (("wrong", 3), ("agent", 0)):
            there = ("--host", own, "--agent-password-file", files[name])
            run("agent", "rotate-key", *there, exit_code=exit_code)
        run("agent", "password", *there, "--new-password-file", files["next"])
        run("agent", "rotate-key", *there, exit_code=3)
        run("agent", "rotate-key", "--host", own, OB_AGENT_PASSWORD=NEXT)
        run("agent", "password", *at, OB_NEW_AGENT_PASSWORD=AGENT)
        for words in (("--help",), ("agent", "start", "--help"), ("cluster", "init", "--help")):
            run(*words, OB_ROOT_PASSWORD=ROOT)
        running = processes_in(home)
        assert {"agent", "server"} == {
            "agent" if "pyobshell" in " ".join(one.cmdline()) else "server" for one in running
        }
        assert found_in(shown_by_kernel(running)) == []
        # A crash, and what is said of it and after it.
        agent = obshell.json("agent", "status", *at)["pid"]
        os.kill(agent, signal.SIGABRT)
        assert ended(agent)
        assert "Fatal Python error: Aborted" in (home / "log_obshell/obshell.out").read_text()
        run("agent", "doctor", *at)
        run("agent", "start", *at, OB_ROOT_PASSWORD=ROOT)
        for words in (("agent", "doctor"), ("audit",), ("cluster", "show"), ("agent", "status")):
            run(*words, *at)
        run("agent", "restart", *at, "--log-level", "DEBUG", "--password-file", files["root"])
        assert found_in(b"".join(said)) == []
        assert leaks(home) == []
        assert found_in(shown_by_kernel(processes_in(home))) == []
        assert list(home.glob("**/core*")) == []
    private = home / ".obshell"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert {file.name for file in private.rglob("*") if file.stat().st_mode & 0o077} == set()
