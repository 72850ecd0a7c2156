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
