"""The verified minor freeze of seekdb: its statement promises nothing, so the views are asked.

For some seconds after a start the statement answers OK and does nothing, and the checkpoint passes
through old values on its way: done is only what was seen to begin and to reach the log's end. What
is undecided when a freeze begins, as the tablets of a DDL that runs, may keep the checkpoint back
for good: then one more freeze takes it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pyobshell.deadline import Deadline
from pyobshell.engines.base import Log
from pyobshell.engines.process import ServerProcess
from pyobshell.engines.sql import Sql

_REPEAT_SECONDS = 1.0
_CHECKPOINT = "select weak_read_scn, checkpoint_scn from oceanbase.__all_virtual_ls_info"
_LOG_END = "select max_scn from oceanbase.__all_virtual_log_stat"
_FREEZES = (
    "select start_time, state = 'FINISH' and ret_code = 0"
    " from oceanbase.__all_virtual_minor_freeze_info"
)
_FREEZE = "alter system minor freeze"


@dataclass(frozen=True, slots=True)
class MinorFreeze:
    """One freeze of the server behind ``sql``, whose process is held meanwhile."""

    sql: Sql
    process: ServerProcess
    deadline: Deadline
    patience_s: float = 15.0
    """How long the checkpoint may stand still until the freeze is asked for once more."""

    async def run(self, log: Log) -> bool:
        """Whether all that was committed before is in the data files when the deadline comes."""
        if not await self.process.until(self._is_able, self.deadline):
            return False
        target = await self._log_end()
        log(f"freezing the memtables up to SCN {target}")
        if not await self._begin():
            return False
        log("the freeze has begun; waiting for the checkpoint")
        last, moved = 0, time.monotonic()

        async def reached() -> bool:
            nonlocal last, moved
            checkpoint = (await self._checkpoint())[1]
            if last != checkpoint < target:
                log(f"the checkpoint is at SCN {checkpoint}")
                moved = time.monotonic()
            elif checkpoint < target and time.monotonic() - moved >= self.patience_s:
                log("the checkpoint stands still: freezing once more")
                await self.sql.query(_FREEZE, deadline=self.deadline)
                moved = time.monotonic()
            last = checkpoint
            return checkpoint >= target

        return await self.process.until(reached, self.deadline)

    async def _begin(self) -> bool:
        """Repeat the statement until a freeze has begun after the call; it may do nothing."""
        before = await self._freezes()
        asked = 0.0

        async def begun() -> bool:
            nonlocal asked
            if time.monotonic() - asked >= _REPEAT_SECONDS:
                await self.sql.query(_FREEZE, deadline=self.deadline)
                asked = time.monotonic()
            return bool(await self._freezes() - before)

        return await self.process.until(begun, self.deadline)

    async def _is_able(self) -> bool:
        return (await self._checkpoint())[0] > 0

    async def _checkpoint(self) -> tuple[int, int]:
        rows = await self.sql.query(_CHECKPOINT, deadline=self.deadline)
        # Two columns of one row; no row means that the log stream is not there yet.
        return (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)

    async def _log_end(self) -> int:
        return int((await self.sql.query(_LOG_END, deadline=self.deadline))[0][0])

    async def _freezes(self) -> set[object]:
        """The start times of the freezes that succeeded."""
        rows = await self.sql.query(_FREEZES, deadline=self.deadline)
        return {start for start, succeeded in rows if succeeded}
