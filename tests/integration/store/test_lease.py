"""There are never two maintainers, whoever is paused, killed or slow."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
from sqlalchemy import text

from pyobshell.address import Address
from pyobshell.errors import OBShellError
from pyobshell.store.database import Database
from pyobshell.tasks import lease
from pyobshell.tasks.lease import Candidate, LeaseLostError, Terms
from support.ocs import Line
from support.waiting import PATIENCE_S, soon

pytestmark = pytest.mark.anyio

LENGTH_S, RENEWAL_S = 0.8, 0.2
REIGNS = 5
A, B = Address("10.0.0.1", 2886), Address("10.0.0.2", 2886)
ADD = text("INSERT INTO setting (name, value) VALUES ('row', '')")


@pytest.fixture
def make_candidate(ocs):
    """Candidates, each with a connection of its own."""
    databases = []

    def make(own, length_s=LENGTH_S, renewal_s=RENEWAL_S, connect=ocs.connect):
        databases.append(Database.mysql(connect, statement_s=length_s))
        return Candidate(databases[-1], own, Terms(length_s, renewal_s))

    yield make
    for database in databases:
        database.close()


@pytest.fixture
def database(ocs):
    database = Database.mysql(ocs.connect)
    yield database
    database.close()


@pytest.fixture
def fenced(ocs):
    """The store as one may write to it who was the maintainer in some epoch."""
    databases = []

    def make(own, epoch):
        databases.append(Database.mysql(ocs.connect, partial(lease.check, own=own, epoch=epoch)))
        return databases[-1]

    yield make
    for database in databases:
        database.close()


async def taken(candidate):
    """Take the lease as soon as it has expired; returns after how long."""
    begun = time.perf_counter()
    while not await candidate.take():
        seen = await candidate.look()
        await asyncio.sleep(max(seen.remaining_s, 0.01))
    return time.perf_counter() - begun


async def test_the_lease_is_taken_by_one_and_then_by_nobody_else(make_candidate):
    candidates = [make_candidate(Address(f"10.0.0.{n}", 2886), 30) for n in range(6)]
    won = await asyncio.gather(*(one.take() for one in candidates))
    assert sorted(won) == [False] * 5 + [True]
    winner = candidates[won.index(True)]
    assert (winner.epoch, 0 < winner.remaining() <= 24) == (1, True)
    seen = await candidates[0].look()
    assert (seen.maintainer, seen.epoch) == (winner._own, 1)
    assert 24 < seen.remaining_s <= 30


async def test_a_lease_that_was_given_up_can_be_had_at_once(make_candidate):
    first, second = make_candidate(A, 30), make_candidate(B, 30)
    assert await first.take()
    assert not await second.take()
    await first.give_up()
    assert first.remaining() == 0
    assert (await second.look()).maintainer is None
    assert await second.take()
    assert second.epoch == 2
    await first.give_up()  # what is another's it cannot give up
    assert (await second.look()).maintainer == B


async def test_an_agent_that_was_restarted_has_its_lease_again_in_another_epoch(make_candidate):
    assert await make_candidate(A, 30).take()
    again = make_candidate(A, 30)
    assert await again.take()
    assert again.epoch == 2


async def test_a_lease_is_kept_as_long_as_it_is_renewed(make_candidate):
    first, second = make_candidate(A, 30, 0.1), make_candidate(B, 30)
    begun = time.monotonic()
    assert await first.take()
    renewed = asyncio.Queue()
    keeping = asyncio.create_task(first.keep(renewed.put_nowait))
    for _ in range(4):
        seen = await soon(renewed.get())
    lasts = time.monotonic() - begun
    assert (seen.maintainer, seen.epoch) == (A, 1)
    assert seen.remaining_s + lasts > 30.3
    assert first.remaining() <= 0.8 * 30
    assert first.remaining() + lasts > 0.8 * 30 + 0.3
    assert not await second.take()
    keeping.cancel()


async def test_an_expired_lease_cannot_be_renewed_even_if_nobody_took_it(database):
    taken = await database.write(lambda c: lease.take(c, A, 0.001))
    await asyncio.sleep(0.01)
    assert await database.write(lambda c: lease.renew(c, A, taken.epoch, 30)) is None
    assert (await database.read(lease.read)).maintainer is None
    taken = await database.write(lambda c: lease.take(c, A, 30))
    assert await database.write(lambda c: lease.renew(c, A, taken.epoch - 1, 30)) is None
    assert await database.write(lambda c: lease.renew(c, B, taken.epoch, 30)) is None
    for _ in range(20):
        assert await database.write(lambda c: lease.renew(c, A, taken.epoch, 30)) is not None


async def test_a_renewal_that_is_not_answered_in_time_is_a_lease_that_is_lost(ocs, make_candidate):
    first = make_candidate(A)
    with contextlib.closing(ocs.connect("ocs")) as other, other.cursor() as cursor:
        await taken(first)
        cursor.execute("SELECT 1 FROM maintainer FOR UPDATE")  # the renewal waits for this
        renewed = []
        await soon(first.keep(renewed.append))
        assert (first.remaining(), renewed) == (0, [])


async def test_who_was_the_maintainer_once_writes_nothing(ocs, database, fenced):
    await database.write(lambda c: lease.take(c, A, 0.001))
    past = fenced(A, 1)
    await past.write(lambda c: c.execute(ADD) and None)
    await database.write(lambda c: lease.take(c, B, 30))
    for work in (lambda c: c.execute(ADD), lambda c: None):
        with pytest.raises(LeaseLostError):
            await past.write(work)
    assert ocs.rows("SELECT COUNT(*) FROM setting") == ((1,),)


async def test_there_are_never_two_in_spite_of_slow_answers_and_losses(ocs, make_candidate):
    """Six candidates with lines that delay and drop; each says from when to when it was the one."""
    chance = random.Random(7)
    reigns, until = [], time.monotonic() + 3 * PATIENCE_S

    def slow(line):
        def connect(database):
            connection = line(database)
            query = connection.query

            def late(*arguments, **more):
                if chance.random() < 0.1:
                    time.sleep(chance.uniform(0, 0.5))
                answer = query(*arguments, **more)
                if chance.random() < 0.1:
                    time.sleep(chance.uniform(0, 0.5))
                return answer

            connection.query = late
            return connection

        return connect

    async def compete(number):
        line = Line(ocs)
        candidate = make_candidate(Address(f"10.0.1.{number}", 2886), 1.0, 0.1, slow(line))
        while len(reigns) < REIGNS and time.monotonic() < until:
            try:
                won = await candidate.take()
            except OBShellError:
                continue
            begun, believed = time.monotonic(), time.monotonic() + candidate.remaining()
            if won and begun < believed:

                def renewed(_):
                    nonlocal believed
                    believed = time.monotonic() + candidate.remaining()
                    if chance.random() < 0.2:
                        line.drop()
                    elif chance.random() < 0.2:
                        line.cut()

                keeping = asyncio.create_task(candidate.keep(renewed))
                await asyncio.wait({keeping}, timeout=chance.uniform(0.2, 3.0))
                keeping.cancel()
                reigns.append((begun, min(time.monotonic(), believed), candidate.epoch))
                line.mend()
                if chance.random() < 0.3:
                    await candidate.give_up()
            await asyncio.sleep(chance.uniform(0.01, 0.1))

    await asyncio.gather(*(compete(number) for number in range(6)))
    reigns.sort()
    assert len({epoch for _, _, epoch in reigns}) == len(reigns) >= REIGNS
    for (_, end, epoch), (begun, _, later) in itertools.pairwise(reigns):
        assert end <= begun
        assert epoch < later


# --- processes -----------------------------------------------------------------------------------


@contextlib.contextmanager
def a_holder(ocs, name):
    """A process that holds the lease and writes without end."""
    command = [sys.executable, "-m", "support.lease_holder", str(ocs.home), name]
    process = subprocess.Popen(
        [*command, str(LENGTH_S), str(RENEWAL_S)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert "writes\n" in iter(process.stdout.readline, "")  # what it logs goes there too
        yield process
    finally:
        process.kill()
        process.communicate()


def written_by(ocs, name):
    return ocs.rows(f"SELECT COUNT(*) FROM setting WHERE name LIKE '{name} %'")[0][0]


async def test_a_holder_that_was_paused_writes_nothing_when_it_wakes(ocs, make_candidate):
    with a_holder(ocs, "10.0.0.9") as process:
        os.kill(process.pid, signal.SIGSTOP)
        candidate = make_candidate(A)
        print(f"hand-over from a paused holder: {await taken(candidate):.3f} s")
        keeping = asyncio.create_task(candidate.keep(lambda _: None))
        before = written_by(ocs, "10.0.0.9")
        os.kill(process.pid, signal.SIGCONT)
        said = await soon(asyncio.to_thread(process.stdout.read))
        # Refused by the fence, or its transaction was undone meanwhile.
        assert "lost LeaseLostError" in said or "lost OBShellError" in said
        assert written_by(ocs, "10.0.0.9") == before
        assert ocs.rows("SELECT agent_ip FROM maintainer") == ((A.ip,),)
        keeping.cancel()


async def test_a_holder_that_was_paused_in_the_middle_of_a_write_is_in_nobodys_way(
    ocs, database, make_candidate
):
    paused = Database.mysql(ocs.connect, partial(lease.check, own=A, epoch=1), statement_s=LENGTH_S)
    await database.write(lambda c: lease.take(c, A, LENGTH_S))
    wake = threading.Event()

    def work(connection):
        connection.execute(ADD)
        assert wake.wait(PATIENCE_S)  # the process is stopped here, and the lock is its own

    writing = paused.submit(work)
    second = make_candidate(B)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                print(f"hand-over from one who is in a write: {await taken(second):.3f} s")
                break
            except OBShellError:
                continue
    wake.set()
    with pytest.raises(OBShellError):
        await soon(asyncio.wrap_future(writing))
    assert ocs.rows("SELECT COUNT(*) FROM setting") == ((0,),)
    paused.close()


async def test_the_lease_of_a_holder_that_was_killed_is_soon_anothers(ocs, make_candidate):
    with a_holder(ocs, "10.0.0.9") as process:
        candidate = make_candidate(A)
        process.kill()
        waited = await taken(candidate)
        print(f"hand-over from a holder that was killed: {waited:.3f} s")
        assert waited < LENGTH_S + 1
        assert candidate.epoch == 2
