"""An agent from its start to its end: what it takes, what it leaves, who may be in its way."""

from __future__ import annotations

import asyncio
import gc
import os
import pwd
import socket
import stat
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyobshell.agent import AddressChangedError, Agent, BaseDirInUseError
from pyobshell.cluster.model import Identity
from pyobshell.home import presence
from pyobshell.security.verify import Passwords
from support.agents import a_member, a_view, free_address
from support.fake_engine import FakeEngine
from support.hosting import hosts, keys
from support.waiting import soon

__all__ = ["hosts", "keys"]
pytestmark = pytest.mark.anyio


def an_agent(settings):
    return Agent(settings, lambda _name, home, *_: FakeEngine(home))


async def test_a_running_agent_is_found_by_its_files_and_gone_without_them(hosts):
    async with hosts.serving(1, [Identity.SINGLE]) as (host,):
        paths = host.agent.paths
        assert paths.pid_file.read_text() == str(os.getpid())
        assert stat.S_ISSOCK(paths.socket.stat().st_mode)
        assert stat.S_IMODE(paths.socket.stat().st_mode) == 0o600
        assert (await host.local.get("/info")).data["identity"] == Identity.SINGLE
    assert not paths.pid_file.exists()
    assert not paths.socket.exists()
    assert host.engine.closed


async def test_what_an_agent_makes_for_itself_is_for_its_user_alone(hosts):
    settings = hosts.settings(free_address())
    agent = an_agent(settings)
    up = asyncio.Event()
    serving = asyncio.create_task(agent.serve(up))
    await soon(up.wait())
    agent.stop()
    await soon(serving)
    assert stat.S_IMODE(settings.paths.state_dir.stat().st_mode) == 0o700
    made = list(settings.paths.state_dir.iterdir())
    assert {settings.paths.private_key, settings.paths.vault_key, settings.paths.database} < {*made}
    assert {file.name: oct(file.stat().st_mode & 0o177) for file in made} == {
        file.name: "0o0" for file in made
    }


async def test_an_agent_keeps_its_key(hosts):
    settings = hosts.settings(free_address())
    texts = []
    for _ in range(2):
        agent = an_agent(settings)
        up = asyncio.Event()
        serving = asyncio.create_task(agent.serve(up))
        await soon(up.wait())
        texts.append(settings.paths.private_key.read_text())
        agent.stop()
        await soon(serving)
    assert texts[0] == texts[1]


async def test_two_agents_do_not_share_a_directory(hosts):
    async with hosts.serving(1, [Identity.SINGLE]) as (host,):
        other = host.agent.settings.model_copy(update={"ip": free_address().ip})
        with pytest.raises(BaseDirInUseError, match="already"):
            await soon(an_agent(other).serve())
        assert (await host.local.get("/info")).status == 200


async def test_an_address_that_is_taken_is_said_so(hosts):
    address = free_address()
    with socket.create_server(address), pytest.raises(OSError, match="in use"):
        await soon(an_agent(hosts.settings(address)).serve())


async def test_a_member_that_is_started_at_another_address_is_not(hosts, keys):
    address, other = free_address(), free_address()
    view = a_view(address, Identity.CLUSTER_AGENT, [a_member(address, keys[0], "zone1")])
    async with hosts.serve(view, keys[0], Passwords()) as host:
        settings = host.agent.settings
    moved = settings.model_copy(update={"ip": other.ip, "port": other.port})
    with pytest.raises(AddressChangedError, match=str(address)):
        await soon(an_agent(moved).serve())


async def test_agents_that_come_and_go_leave_no_file_and_no_thread_open(hosts):
    async def come_and_go():
        async with hosts.serving(2) as made:
            await made[0].api.plain("GET", "/api/v1/info")
            await made[1].local.get("/task/dag/unfinish")

    def files():
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    def threads():
        alive = {thread.name for thread in threading.enumerate()}
        return {name for name in alive if name.startswith(("store", "crypto"))}

    await come_and_go()  # what the process itself opens once does not count
    before = files()
    for _ in range(2):
        await come_and_go()
    assert files() <= before
    assert threads() == set()


# --- who gets to the local socket -------------------------------------------------------------


async def started(settings):
    """Start an agent, and end it as soon as it is up; raises what keeps it from that."""
    agent, up = an_agent(settings), asyncio.Event()
    serving = asyncio.create_task(agent.serve(up))
    waiting = asyncio.create_task(up.wait())
    await soon(asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED))
    waiting.cancel()
    agent.stop()
    await soon(serving)


@pytest.mark.parametrize("open_to_all", ["base_dir", "run_dir"])
async def test_it_does_not_lie_where_everybody_can_replace_it(hosts, open_to_all):
    settings = hosts.settings(free_address())
    settings.paths.run_dir.mkdir(parents=True)
    directory = getattr(settings.paths, open_to_all)
    directory.chmod(0o777)
    with pytest.raises(PermissionError, match=r"take the place .* \(chmod o-w\)") as refused:
        await started(settings)
    assert refused.value.filename == str(directory)
    assert settings.paths.state_dir.exists() == (open_to_all == "run_dir")
    directory.chmod(0o1777)
    await started(settings)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
async def test_nor_where_a_group_of_several_can(hosts):
    settings = hosts.settings(free_address())
    settings.base_dir.mkdir(parents=True)
    os.chown(settings.base_dir, -1, 54321)
    settings.base_dir.chmod(0o770)
    await started(settings)  # in this group is nobody
    os.chown(settings.base_dir, -1, next(one.pw_gid for one in pwd.getpwall() if one.pw_uid))
    with pytest.raises(PermissionError, match=r"take the place .* \(chmod g-w\)"):
        await started(settings)


def test_in_a_group_are_its_members_and_those_whose_own_it_is(monkeypatch):
    users = [("admin", 7, 70), ("bob", 8, 70), ("carol", 9, 90), ("dave", 10, 100)]
    entries = [SimpleNamespace(pw_name=n, pw_uid=u, pw_gid=g) for n, u, g in users]
    monkeypatch.setattr(presence.pwd, "getpwall", lambda: entries)
    group = SimpleNamespace(gr_mem=["carol", "gone"])
    monkeypatch.setattr(presence.grp, "getgrgid", {70: group}.__getitem__)
    assert presence._users_of(70) == {7, 8, 9}
    assert presence._users_of(100) == {10}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
async def test_nor_with_keys_that_another_user_has_put_there(hosts):
    settings = hosts.settings(free_address())
    settings.paths.state_dir.mkdir(parents=True)
    os.chown(settings.paths.state_dir, 65534, -1)
    with pytest.raises(PermissionError, match="take the place of the agent's own"):
        await started(settings)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("whose", ["link", "target"])
async def test_nor_behind_a_link_of_another_user(hosts, tmp_path, whose):
    settings = hosts.settings(free_address())
    settings.base_dir.mkdir(parents=True)
    target = tmp_path / "elsewhere"
    target.mkdir()
    settings.paths.run_dir.symlink_to(target)
    await started(settings)
    os.chown(
        settings.paths.run_dir if whose == "link" else target, 65534, -1, follow_symlinks=False
    )
    with pytest.raises(PermissionError, match="take the place of the agent's own"):
        await started(settings)


_AS_ANOTHER_USER = """
import os, socket, sys
os.chdir(sys.argv[1])
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as local:
    local.connect("obshell.sock")
    local.sendall(b"GET /api/v1/ob/agents HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n")
    while some := local.recv(65536):
        sys.stdout.buffer.write(some)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_is_refused_even_where_the_socket_can_be_opened(hosts):
    async with hosts.serving(1) as (host,):
        paths = host.agent.paths

        async def ask() -> str:
            asking = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _AS_ANOTHER_USER,
                str(paths.run_dir),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            return (await soon(asking.communicate()))[0].decode()

        assert "PermissionError" in await ask()
        paths.run_dir.chmod(0o755)
        assert "PermissionError" in await ask()
        paths.socket.chmod(0o666)
        answer = await ask()
        assert "401 Unauthorized" in answer
        assert "Security.User.PermissionDenied" in answer
        assert (await host.local.get("/ob/agents")).status == 200
