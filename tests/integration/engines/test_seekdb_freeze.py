"""A minor freeze is done when all that was committed before is in the data files."""

from __future__ import annotations

import pytest

from pyobshell import errors
from pyobshell.deadline import Deadline

pytestmark = pytest.mark.anyio
_END = "select max_scn from oceanbase.__all_virtual_log_stat"
_VIEWS_USED = (
    "select distinct table_name from oceanbase.__all_table where table_id in"
    " (select table_id from oceanbase.__all_ddl_operation where operation_type = 3)"
)
_FLUSHED = "select checkpoint_scn from oceanbase.__all_virtual_ls_info"


@pytest.mark.long
async def test_a_freeze_right_after_the_boot_is_not_believed_before_it_is_done(server):
    with pytest.raises(errors.OBShellError, match=r"minor freeze of .*1 s") as late:
        await server.engine.minor_freeze(server.lines.append, Deadline.after(1))
    assert late.value.code is errors.MINOR_FREEZE_TIMEOUT
    server.rows("create table test.t(a int)", "insert into test.t values (1)")
    ((end,),) = server.rows(_END)
    assert server.rows(_FLUSHED)[0][0] < end
    await server.engine.minor_freeze(server.lines.append, Deadline.after(60))
    assert server.rows(_FLUSHED)[0][0] >= end


async def test_the_agent_uses_no_view_for_which_the_server_would_begin_a_ddl(server):
    for ask in (server.engine.sessions, server.engine.running_statements):
        await ask(Deadline.after(10))
    for see in (server.engine.drain, server.engine.end_transactions):
        await see(server.lines.append, Deadline.after(60))
    server.rows("select count(*) from oceanbase.V$OB_TIMESTAMP_SERVICE")

    async def recorded() -> bool:
        return bool(server.rows(_VIEWS_USED))

    with await server.engine.process() as process:
        assert await process.until(recorded, Deadline.after(10))
    assert server.rows(_VIEWS_USED) == (("V$OB_TIMESTAMP_SERVICE",),)


async def test_a_freeze_needs_a_running_server(make_server):
    with pytest.raises(errors.OBShellError) as missing:
        await make_server().engine.minor_freeze(print, Deadline.after(1))
    assert missing.value.code is errors.SERVER_PROCESS_NOT_EXIST
