"""Whoever gives a request up while it waits leaves the line, and makes room for others."""

from __future__ import annotations

import asyncio
import time

import pytest

from pyobshell import errors
from pyobshell.api.hung_up import minding
from pyobshell.security.backoff import FREE
from pyobshell.security.hybrid import seal_request
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD
from support.staging import turns
from support.waiting import Gate, soon

pytestmark = pytest.mark.anyio

TARGET = "/api/v1/ob/agents"


@pytest.fixture
async def host(anyio_backend, hosts):
    async with hosts.serving(1, passwords=Passwords(root=ROOT_PASSWORD)) as (host,):
        yield host


async def test_a_guess_whose_guesser_has_hung_up_waits_no_more(host, monkeypatch):
    logins, gate = host.agent._door.logins, Gate()
    monkeypatch.setattr(logins, "_sleep", lambda _: gate.pass_through())
    for _ in range(FREE):
        assert (await host.api.get("/ob/agents", password="wrong")).status == 401
    (debtor,) = logins._debtors.values()
    sealed = seal_request(host.key.public, password="wrong", uri=TARGET, body=b"", now=time.time())
    _, writer = await asyncio.open_connection(*host.address)
    writer.write(f"GET {TARGET} HTTP/1.1\r\nx-ocs-header: {sealed.header_value}\r\n\r\n".encode())
    await gate.reached()
    assert len(debtor.due) == 1
    writer.close()
    await gate.given_up()
    await turns(3)
    assert len(debtor.due) == 0


async def test_what_nobody_waits_for_is_given_up_for_whoever_waits_for_the_same():
    gone = asyncio.get_running_loop().create_future()

    async def ask() -> None:
        async with minding(gone):
            await asyncio.Event().wait()

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0)
    gone.set_result(None)
    with pytest.raises(errors.OBShellError) as given_up:
        await soon(asking)
    assert given_up.value.code is errors.BAD_REQUEST
    assert gone._callbacks is None or not gone._callbacks


async def test_a_cancellation_stays_one():
    gone = asyncio.get_running_loop().create_future()

    async def ask() -> None:
        async with minding(gone):
            await asyncio.Event().wait()

    for also_gone in (False, True):
        asking = asyncio.create_task(ask())
        await asyncio.sleep(0)
        if also_gone:
            gone.set_result(None)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(asking)
