"""Servers that are deleted from a cluster, waited for, and kept after all."""

from __future__ import annotations

import asyncio

import pytest

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.engines.ob_cluster import UnitRow
from pyobshell.errors import OBShellError
from pyobshell.operations import deletion
from support.fake_cluster import FakeCluster
from support.waiting import PATIENCE_S, soon

pytestmark = pytest.mark.anyio
FIRST, SECOND = Address("10.0.0.1", 2882), Address("10.0.0.2", 2882)


@pytest.fixture
def ob():
    return FakeCluster([(FIRST, "zone1"), (SECOND, "zone1")])


@pytest.fixture
def lines():
    return []


def patience():
    return Deadline.after(PATIENCE_S)


async def test_a_server_is_deleted_once_and_waited_for(ob, lines):
    ob.unit_rows = [UnitRow(1, 1, "zone1", SECOND)]
    for _ in range(2):
        await deletion.begin_deletion(ob, [SECOND], lines.append, patience())
    assert ob.deeds == [f"delete server {SECOND}"]
    waiting = asyncio.create_task(deletion.until_gone(ob, [SECOND], lines.append, patience()))
    while lines[-1:] != [f"waiting: {SECOND} has 1 units"]:
        await soon(asyncio.sleep(0))
    ob.places.remove((SECOND, "zone1"))
    await soon(waiting)
    await deletion.delete_for_good(ob, [SECOND], lines.append, patience())
    assert ob.deeds == [f"delete server {SECOND}"]


async def test_a_deletion_that_does_not_end_or_is_called_off_by_others_is_an_error(ob, lines):
    ob.deleting.add(SECOND)
    with pytest.raises(OBShellError) as late:
        await deletion.until_gone(ob, [SECOND], lines.append, Deadline.after(0))
    assert late.value.code is errors.CLUSTER_ASYNC_TIMEOUT
    ob.deleting.clear()
    with pytest.raises(OBShellError, match="is ACTIVE: its deletion has been called off"):
        await deletion.until_gone(ob, [SECOND], lines.append, patience())


async def test_the_cluster_may_be_electing_while_it_is_waited_for(ob, lines):
    ob.deleting.add(SECOND)
    ob.failures["views"] = errors.SERVER_UNAVAILABLE(reason="no leader")
    waiting = asyncio.create_task(deletion.until_gone(ob, [SECOND], lines.append, patience()))
    while not any("no leader" in line for line in lines):
        await soon(asyncio.sleep(0))
    ob.failures.clear()
    ob.places.remove((SECOND, "zone1"))
    await soon(waiting)


async def test_a_server_is_kept_as_long_as_it_is_there(ob, lines):
    ob.deleting.add(SECOND)
    for _ in range(2):
        await deletion.call_off(ob, [FIRST, SECOND], lines.append, patience())
    assert ob.deeds == [f"cancel delete server {SECOND}"]
    ob.places.remove((SECOND, "zone1"))
    with pytest.raises(OBShellError, match="cannot be brought back"):
        await deletion.call_off(ob, [FIRST, SECOND], lines.append, patience())
