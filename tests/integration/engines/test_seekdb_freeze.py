"""A minor freeze is done when all that was committed before is in the data files."""

from __future__ import annotations

import pytest

from pyobshell import errors
from pyobshell.deadline import Deadline

pytestmark = pytest.mark.anyio
_END = "select max_scn from oceanbase.V$OB_LOG_STAT"
_FLUSHED = "select checkpoint_scn from oceanbase.__all_virtual_ls_info"


async def test_a_freeze_right_after_the_boot_is_not_believed_before_it_is_done(server):
    with pytest.raises(errors.OBShellError, match=r"minor freeze of .*1 s") as late:
        await server.engine.minor_freeze(server.lines.append, Deadline.after(1))
    assert late.value.code is errors.MINOR_FREEZE_TIMEOUT
    server.rows("create table test.t(a int)", "insert into test.t values (1)")
    ((end,),) = server.rows(_END)
    assert server.rows(_FLUSHED)[0][0] < end
    await server.engine.minor_freeze(server.lines.append, Deadline.after(60))
    assert server.rows(_FLUSHED)[0][0] >= end


async def test_a_freeze_needs_a_running_server(make_server):
    with pytest.raises(errors.OBShellError) as missing:
        await make_server().engine.minor_freeze(print, Deadline.after(1))
    assert missing.value.code is errors.SERVER_PROCESS_NOT_EXIST
