"""The records of one agent, as its own disk has them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pyobshell.store.audit import AuditLog, Entry, Outcome, Wanted
from support.waiting import PATIENCE_S, soon

pytestmark = pytest.mark.anyio

ENTRY = Entry(
    moment=1,
    trace_id="t",
    who="root@sys",
    uid=None,
    pid=None,
    client="local",
    method="POST",
    path="/",
    body="{}",
    dag_id="217",
)


async def test_an_answer_that_a_client_has_seen_is_found_however_busy_the_writer_is(database):
    log, go_on = AuditLog(database), threading.Event()
    number = await log.enter(ENTRY)
    database.submit(lambda _: go_on.wait(PATIENCE_S) and None)
    log.complete(number, Outcome(status=200, error_code=None, dag_id=None, duration_ms=1))
    finding = asyncio.create_task(log.find(Wanted(), 9))
    await asyncio.sleep(0)
    await database.read(lambda _: None)  # whatever was to be read before is read
    assert not finding.done()
    go_on.set()
    (record,) = await soon(finding)
    assert (record.status, record.duration_ms) == (200, 1)


async def test_the_task_that_an_operator_is_for_stays_that_of_its_record(database):
    log = AuditLog(database)
    number = await log.enter(ENTRY)
    log.complete(number, Outcome(status=200, error_code=None, dag_id="299", duration_ms=1))
    (record,) = await log.find(Wanted(dag_id="217"), 9)
    assert (record.number, record.dag_id) == (number, "217")
