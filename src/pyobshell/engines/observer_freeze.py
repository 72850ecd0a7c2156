"""The verified minor freeze of one server of a cluster."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.engines.base import Log
from pyobshell.engines.ob_cluster import ObCluster
from pyobshell.engines.process import ServerProcess

_PACE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class MinorFreeze:
    """A freeze of ``server``, whose process is held meanwhile.

    Its statement only begins it. Done is what is in the data files: when the checkpoint of each log
    stream has passed the end that its log had before. That the checkpoint moved is true too early.
    What was undecided when it began may be left out, and is flushed by a later one.
    """

    cluster: ObCluster
    server: Address
    process: ServerProcess
    deadline: Deadline
    patience_s: float = 30.0
    """How long nothing may become of it until it is asked for once more."""

    async def run(self, log: Log) -> bool:
        """Whether all that was committed before is in the data files when the deadline comes."""
        ends = await self.cluster.log_ends(self.server, self.deadline)
        log(f"freezing {len(ends)} log streams")
        await self.cluster.minor_freeze(self.server, self.deadline)
        before, moved = len(ends), time.monotonic()

        async def reached() -> bool:
            nonlocal before, moved
            now = await self.cluster.checkpoints(self.server, self.deadline)
            # A log stream that is here no longer has nothing to be flushed; but of one that is,
            # no checkpoint is no flush.
            here = await self.cluster.log_ends(self.server, self.deadline)
            left = sum(one in here and now.get(one, 0) < end for one, end in ends.items())
            if left < before:
                log(f"{len(ends) - left} of {len(ends)} log streams are in the data files")
                moved = time.monotonic()
            elif left and time.monotonic() - moved >= self.patience_s:
                log(f"{left} log streams are still to be flushed: freezing once more")
                await self.cluster.minor_freeze(self.server, self.deadline)
                moved = time.monotonic()
            before = left
            return left == 0

        return await self.process.until(reached, self.deadline, _PACE_SECONDS)
