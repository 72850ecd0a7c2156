"""The event loop of asynchronous tests, databases with their tables, and how hypothesis works."""

from __future__ import annotations

import shutil
from pathlib import Path

import hypothesis
import pytest
import structlog

from pyobshell.store.database import Database, sqlite_engine
from pyobshell.store.migrate import migrate

hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.load_profile("default")
structlog.configure(
    [
        structlog.stdlib.add_log_level,
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def empty_database_file(tmp_path_factory):
    """A file with every table and no row, to be copied: migrating anew takes longer."""
    file = tmp_path_factory.mktemp("store") / "empty.db"
    engine = sqlite_engine(file)
    migrate(engine)
    engine.dispose()
    return file


@pytest.fixture
def database_file(empty_database_file, tmp_path) -> Path:
    return shutil.copy(empty_database_file, tmp_path / "meta.db")


@pytest.fixture
def database(database_file):
    database = Database.sqlite(database_file)
    yield database
    database.close()
