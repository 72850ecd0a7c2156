"""A minor freeze of a server that is slow to decide what has happened."""

from __future__ import annotations

import os

import pytest

from pyobshell.deadline import Deadline
from pyobshell.engines.process import ServerProcess
from pyobshell.engines.seekdb_freeze import MinorFreeze

pytestmark = pytest.mark.anyio


class SlowToDecide:
    """Answers as seekdb does: a freeze takes only what was decided at its snapshot with it."""

    def __init__(self, *, decided: list[int]) -> None:
        self.checkpoint = 1
        self.freezes: list[int] = []
        self._decided = decided

    async def query(self, statement: str, *, deadline: Deadline) -> list[tuple[object, ...]]:
        if "log_stat" in statement:
            return [(100,)]
        if "minor_freeze_info" in statement:
            return [(number, True) for number in range(len(self.freezes))]
        if "ls_info" in statement:
            return [(90, self.checkpoint)]
        assert statement == "alter system minor freeze"
        self.freezes.append(self._decided[len(self.freezes)])
        self.checkpoint = self.freezes[-1]
        return []


async def freeze(server: SlowToDecide, lines: list[str], patience_s: float) -> bool:
    with ServerProcess(os.getpid(), os.pidfd_open(os.getpid()), 0.0) as process:
        return await MinorFreeze(server, process, Deadline.after(20), patience_s).run(lines.append)


async def test_what_was_undecided_is_frozen_once_more():
    server = SlowToDecide(decided=[70, 99, 100])
    lines: list[str] = []
    assert await freeze(server, lines, patience_s=0.1)
    assert server.freezes == [70, 99, 100]
    assert lines.count("the checkpoint stands still: freezing once more") == 2


async def test_a_checkpoint_that_has_arrived_takes_one_freeze():
    server = SlowToDecide(decided=[101])
    assert await freeze(server, [], patience_s=0.1)
    assert server.freezes == [101]
