"""Which tests stay together, their event loop and empty databases, and how hypothesis works."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import hypothesis
import pytest
import structlog
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from pyobshell.cli.serve import COLLECT_AFTER
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


class _Together(LoadScopeScheduling):
    """Leave the tests of a file to one worker, and those of a package, which share servers."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        shares = (self.config.rootpath / file).with_name("__init__.py").exists()
        return str(file.parent if shares else file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return _Together(config, log)


def pytest_collection_finish() -> None:
    """Look for circles as seldom as an agent does, and not in what is loaded and never goes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


@pytest.fixture(scope="session")
def anyio_backend():
    """As an agent runs; its transports raise where those of asyncio are silent."""
    return ("asyncio", {"use_uvloop": True})


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
