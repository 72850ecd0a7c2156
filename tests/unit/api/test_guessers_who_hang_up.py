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


async def guess(host) -> asyncio.StreamWriter:
    """Offer a wrong password on a connection of its own, which is returned."""
    sealed = seal_request(host.key.public, password="wrong", uri=TARGET, body=b"", now=time.time())
    _, writer = await asyncio.open_connection(*host.address)
    writer.write(f"GET {TARGET} HTTP/1.1\r\nx-ocs-header: {sealed.header_value}\r\n\r\n".encode())
    return writer


async def test_a_guess_whose_guesser_has_hung_up_waits_no_more(host, monkeypatch):
    logins, gate = host.agent._door.logins, Gate()
    monkeypatch.setattr(logins, "_sleep", lambda _: gate.pass_through())
    for _ in range(FREE):
        assert (await host.api.get("/ob/agents", password="wrong")).status == 401
    (debtor,) = logins._debtors.values()
    writer = await guess(host)
    await gate.reached()
    assert len(debtor.due) == 1
    writer.close()
    await gate.given_up()
    await turns(3)
    assert len(debtor.due) == 0


async def test_a_guess_is_not_free_for_whoever_hangs_up_while_the_server_is_asked(
    host, monkeypatch
):
    logins, line, gates = host.agent._door.logins, Gate(), [Gate() for _ in range(FREE)]
    asked = iter(gates)
    monkeypatch.setattr(host.engine, "login", lambda _: next(asked).pass_through())
    monkeypatch.setattr(logins, "_sleep", lambda _: line.pass_through())
    for gate in gates:
        writer = await guess(host)
        await gate.reached()
        writer.close()
        await gate.given_up()
    asking = asyncio.create_task(host.api.get("/ob/agents", password=ROOT_PASSWORD))
    await line.reached()
    line.open()
    assert (await soon(asking)).status == 200


async def test_who_hangs_up_when_he_has_just_been_judged_is_not_interrupted_afterwards():
    gone, verdict = (asyncio.get_running_loop().create_future() for _ in range(2))
    done = []

    async def ask() -> None:
        async with minding(gone):
            await verdict
        await turns(2)
        done.append(True)

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0)
    verdict.set_result(None)
    gone.set_result(None)
    await soon(asking)
    assert done == [True]


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
