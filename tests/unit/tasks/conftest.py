"""Engines to run DAGs on, each stopped with its test."""

from __future__ import annotations

import pytest

from pyobshell.store.database import Database
from pyobshell.tasks.engine import TaskEngine
from pyobshell.tasks.stage import Catalogue
from support.staging import OWN

SITE = object()
"""What the stages of these engines work with: they only hand it through."""


@pytest.fixture
async def start_engine(anyio_backend, database):
    """Start an engine that knows some stages, on the test's database unless told another."""
    engines = []

    async def start(*stages, database: Database = database) -> TaskEngine:
        engine = TaskEngine(database, Catalogue(stages), OWN, SITE)
        engines.append(engine)
        await engine.start()
        return engine

    yield start
    for engine in engines:
        await engine.stop()


@pytest.fixture
def end(database):
    """End an engine with its agent: what it has logged is on disk afterwards."""

    async def end(engine) -> None:
        await engine.stop()
        await database.write(lambda _: None)

    return end


@pytest.fixture
def another_database(database_file):
    """The same file, opened once more as the next life of the agent does."""
    database = Database.sqlite(database_file)
    yield database
    database.close()
