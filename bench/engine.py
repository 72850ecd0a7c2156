"""The task engine alone: what a DAG costs when its stages do nothing."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from pydantic import BaseModel

from pyobshell import log
from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.store.database import Database, sqlite_engine
from pyobshell.store.migrate import migrate
from pyobshell.tasks.engine import TaskEngine
from pyobshell.tasks.model import DagPlan, NodePlan
from pyobshell.tasks.stage import Catalogue, Run, stage

OWN = Address("127.0.0.1", 2886)
STAGES, SUB_TASKS, ROUNDS = 5, 1000, 20


class Nothing(BaseModel):
    """No parameters."""


@stage("Empty")
async def empty(run: Run[None], params: Nothing) -> None:
    """A stage that does nothing."""


async def measure() -> tuple[float, float]:
    """Milliseconds for a DAG of five empty stages (median), and sub tasks per second."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        log.configure("INFO", Path(directory) / "bench.log")  # as an agent does
        path = Path(directory) / "bench.db"
        engine = sqlite_engine(path)
        migrate(engine)
        engine.dispose()
        database = Database.sqlite(path)
        tasks: TaskEngine[None] = TaskEngine(database, Catalogue([empty]), OWN, None)
        serial = DagPlan("five stages", [NodePlan(empty)] * STAGES, Nothing())
        agents = [Address("127.0.0.1", 10_000 + n) for n in range(SUB_TASKS)]
        parallel = DagPlan("one wide stage", [NodePlan(empty, agents)], Nothing())
        await _run(tasks, serial)
        serial_s = statistics.median([await _run(tasks, serial) for _ in range(ROUNDS)])
        parallel_s = statistics.median([await _run(tasks, parallel) for _ in range(3)])
        await tasks.stop()
        database.close()
    return serial_s * 1000, SUB_TASKS / parallel_s


async def _run(tasks: TaskEngine[None], plan: DagPlan) -> float:
    begun = time.perf_counter()
    dag = await tasks.submit(plan)
    await tasks.wait_end(dag.id, Deadline.after(60))
    return time.perf_counter() - begun
