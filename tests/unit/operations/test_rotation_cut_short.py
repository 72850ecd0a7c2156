"""A rotation that is cut short, or cannot be written: what lies on the disk is one usable key."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from pyobshell import errors
from pyobshell.operations import rotation
from pyobshell.security import keyring
from pyobshell.security.keyring import Keyring, life_of
from support.agents import a_member, free_address
from support.listening import listen, listening
from support.rotations import (
    BODY,
    KNOWN,
    MEMBER,
    PATH,
    ask,
    key_of,
    made_before,
    pair,
    rotate,
    two_members,
)

__all__ = ["listen", "made_before", "pair", "two_members"]
pytestmark = pytest.mark.anyio


async def test_cut_short_after_the_key_was_written_the_new_one_works(hosts, listen, keys):
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    second = await listen(1, MEMBER, members, KNOWN, other)
    async with listening(hosts, 0, MEMBER, members, KNOWN, own) as first:
        paths = first.agent.paths
    successor = Keyring(keys[0]).successor(2048)
    paths.private_key.write_text(successor.to_text())
    async with listening(hosts, 0, MEMBER, members, KNOWN, own) as first:
        assert key_of(first, first) == successor.public_text
        assert first.site.cluster.passwords == KNOWN
        await ask(second, first)
        await ask(first, second)
        assert (await first.api.get("/ob/agents")).status == 200
        assert first.site.keyring.life == life_of(keys[0].public_text)


async def test_cut_short_before_it_was_written_the_old_one_works(pair, keys, monkeypatch):
    first, second = pair

    def full(*_):
        raise OSError(28, "No space left on device")

    paths, known = first.agent.paths, key_of(second, first)
    before = paths.private_key.read_text()
    monkeypatch.setattr("pyobshell.whole_file.os.fsync", full)
    answer = await first.local.post(PATH, BODY)
    assert answer.refusal == (errors.KEY_NOT_WRITTEN.name, 500)
    assert "no space left" in answer.message.lower()
    monkeypatch.undo()
    assert paths.private_key.read_text() == before
    assert list(paths.state_dir.glob("agent.key.*")) == []
    await ask(second, first)
    assert (await first.api.get("/ob/agents")).status == 200
    assert key_of(second, first) == first.site.key.public_text == known


async def test_no_key_is_made_that_a_member_which_is_down_could_never_learn(hosts, listen, keys):
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    first = await listen(0, MEMBER, members, KNOWN, own)
    for _ in range(keyring.MOST_KEPT):
        assert len((await rotate(first))["unreachable"]) == 1
    before = first.site.key.public_text
    answer = await first.local.post(PATH, BODY)
    assert answer.refusal == (errors.KEY_WOULD_BE_UNKNOWN.name, 500)
    assert str(other) in answer.message
    assert first.site.key.public_text == before
    async with listening(hosts, 1, MEMBER, members, KNOWN, other) as second:
        assert (await rotate(first))["unreachable"] == []
        assert key_of(second, first) == first.site.key.public_text


class KilledError(BaseException):
    """The process is no more."""


class Scythe:
    """Ends a rotation before the write of a number, from 0; ``seen`` are those that came."""

    def __init__(self, number: int) -> None:
        self.seen: list[str] = []
        self._number = number

    def over(self, patched: pytest.MonkeyPatch, owner: object, name: str) -> None:
        """Have it hang over what writes."""
        write = getattr(owner, name)

        def watched(*arguments, **more):
            if TOLD[0] in self.seen and name in WRITES:  # of other files, in their own time
                return write(*arguments, **more)
            if len(self.seen) > self._number:
                raise KilledError  # nothing more is done by who is dead
            self.seen.append(name)
            if len(self.seen) > self._number:
                raise KilledError
            return write(*arguments, **more)

        patched.setattr(owner, name, watched)


WRITES = ["open", "open", "fsync", "rename", "open", "fsync", "pwrite", "fsync"]
TOLD = ["learn_key", "call_all"]
AROUND_THE_CHANGE = {2, 3, 4, 8, 9}


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, marks=[] if number in AROUND_THE_CHANGE else pytest.mark.long)
        for number in range(len(WRITES) + len(TOLD))
    ],
)
async def test_killed_before_any_write_it_comes_back_with_a_key_that_its_members_know(
    hosts, listen, keys, number
):
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    second = await listen(1, MEMBER, members, KNOWN, other)
    scythe = Scythe(number)
    async with listening(hosts, 0, MEMBER, members, KNOWN, own) as first:
        await ask(first, second)
        with pytest.MonkeyPatch.context() as patched:
            for name in ("open", "fsync", "pwrite"):
                scythe.over(patched, os, name)
            scythe.over(patched, Path, "rename")
            scythe.over(patched, first.site.cluster, "learn_key")
            scythe.over(patched, first.site.peers, "call_all")
            with contextlib.suppress(KilledError):
                await rotation.rotate_key(first.site, 2048)
    assert scythe.seen == [*WRITES, *TOLD][: number + 1]
    async with listening(hosts, 0, MEMBER, members, KNOWN, own) as first:
        is_new = number > WRITES.index("rename")
        assert (first.site.key.public_text != keys[0].public_text) == is_new
        await ask(first, second)
        await ask(second, first)
        assert key_of(second, first) == key_of(first, first) == first.site.key.public_text
        assert (await first.api.get("/ob/agents")).status == 200
        assert (await rotate(first))["unreachable"] == []
        await ask(second, first)


async def test_what_cannot_be_recorded_then_is_put_right_at_the_next_start(
    hosts, listen, keys, monkeypatch
):
    own, other = free_address(), free_address()
    members = [a_member(own, keys[0], "zone1"), a_member(other, keys[1], "zone2")]
    second = await listen(1, MEMBER, members, KNOWN, other)
    async with listening(hosts, 0, MEMBER, members, KNOWN, own) as first:

        async def full(*_):
            raise errors.STORE_UNAVAILABLE(base_dir="/b", file="meta.db", cause="no space left")

        monkeypatch.setattr(first.site.cluster, "learn_key", full)
        assert (await rotate(first))["unreachable"] == []
        assert key_of(second, first) == first.site.key.public_text
        assert key_of(first, first) == keys[0].public_text
    async with listening(hosts, 0, MEMBER, members, KNOWN, own) as first:
        assert key_of(first, first) == first.site.key.public_text == key_of(second, first)
        await ask(second, first)


async def test_the_old_key_is_destroyed(start_host, keys):
    host = await start_host()
    paths = host.agent.paths
    secret = keys[0].to_pem().splitlines()[1:-1]
    kept = paths.base_dir / "another name of the same file"
    os.link(paths.private_key, kept)
    assert secret[3] in kept.read_text()
    await rotate(host)
    assert set(kept.read_bytes()) == {0}
    assert paths.private_key.stat().st_mode & 0o777 == 0o600
    await host.agent._kept_copy.settled()
    for file in paths.base_dir.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not any(line.encode() in content for line in secret), file
    written = Keyring.from_text(paths.private_key.read_text())
    assert written.public_text == host.site.key.public_text != keys[0].public_text
