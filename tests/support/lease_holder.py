"""A process that takes the lease and writes as long as it may: ``SOCKET NAME LENGTH RENEWAL``.

It says ``writes`` once it has written, and ``lost`` with a reason when it ends. Each row it
writes to ``setting`` begins with its name.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from functools import partial
from pathlib import Path

from sqlalchemy import text

from pyobshell.address import Address
from pyobshell.store.database import Database
from pyobshell.tasks import lease
from support.ocs import Seekdb

_ADD = text("INSERT INTO setting (name, value) VALUES (:name, '')")


async def _hold(home: Path, name: str, length_s: float, renewal_s: float) -> str:
    connect = Seekdb(home).connect
    own = Address(name, 2886)
    database = Database.mysql(connect, statement_s=length_s)
    candidate = lease.Candidate(database, own, lease.Terms(length_s, renewal_s))
    while not await candidate.take():
        pass  # the machine is slow, and the answer has come too late
    keeping = asyncio.create_task(candidate.keep(lambda _: None))
    fence = partial(lease.check, own=own, epoch=candidate.epoch)
    fenced = Database.mysql(connect, fence, statement_s=length_s)
    try:
        for number in itertools.count():  # it does not look at its own clock: the fence must do
            row = {"name": f"{name} {number}"}
            await fenced.write(lambda c, row=row: c.execute(_ADD, row) and None)
            if number == 0:
                print("writes", flush=True)
    except Exception as error:
        return f"{type(error).__name__} {error}"
    finally:
        keeping.cancel()


if __name__ == "__main__":
    home, name, length, renewal = sys.argv[1:]
    print("lost", asyncio.run(_hold(Path(home), name, float(length), float(renewal))), flush=True)
