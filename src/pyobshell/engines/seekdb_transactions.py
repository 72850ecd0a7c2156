"""What may not be open when a seekdb server ends: transactions that are in its log already.

As of 1.4 such a transaction is neither committed nor rolled back by the next start, and what it has
locked stays locked for good; if it was a DDL, also one of the server itself, no DDL ends any more.
In the log are transactions of some 16 KB, and after a freeze the smallest. No view may be asked
here: its first use leads to such a DDL, a moment later.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from pyobshell.deadline import Deadline
from pyobshell.engines.base import Log
from pyobshell.engines.process import ServerProcess
from pyobshell.engines.sql import Refused, Sql

_PACE_SECONDS = 0.01
# A transaction of an earlier life that was never ended has no session.
_IN_THE_LOG = (
    "select t.trans_id, t.part_trans_action = 3, p.id"
    " from oceanbase.__all_virtual_trans_stat t"
    " left join oceanbase.__all_virtual_processlist p on p.trans_id = t.trans_id"
    " where t.session_id != 0 and t.is_decided = 0 and t.flushed_log_size > 0"
)


@dataclass(frozen=True, slots=True)
class OpenTransactions:
    """Those of the server behind ``sql``, whose process is held meanwhile."""

    sql: Sql
    process: ServerProcess
    deadline: Deadline

    async def end(self, log: Log) -> bool:
        """End users' sessions that have one, wait for the server's own; False on the deadline."""
        committing: set[int] = set()

        async def none_is_left() -> bool:
            nonlocal committing
            rows = await self.sql.query(_IN_THE_LOG, deadline=self.deadline)
            open_now = {trans: session for trans, commits, session in rows if not commits}
            for trans, session in open_now.items():
                if session is not None:
                    log(f"session {session} has transaction {trans} open, which is rolled back")
                    with suppress(Refused):  # it has just ended by itself
                        await self.sql.query("KILL %s", session, deadline=self.deadline)
            before, committing = committing, {trans for trans, commits, _ in rows if commits}
            return not open_now and not before & committing

        return await self.process.until(none_is_left, self.deadline, _PACE_SECONDS)
