"""A seekdb server that is up is noticed, whoever has started it, and not made anew after that."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.engines import ObState, ServerConfig
from pyobshell.engines.note import Note
from pyobshell.engines.seekdb import Seekdb
from pyobshell.engines.seekdb_files import FirstBoot, Layout
from support.waiting import soon

pytestmark = pytest.mark.anyio
DATA = ("store/sstable/meta.db", "store/redo/sys/x", "store/slog/x", "store/sstable/block_file")


@pytest.fixture
def home(tmp_path):
    """A home with all that a server leaves that has been up, and no note of it."""
    for file in (*DATA, "run/sql.sock"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    return tmp_path.resolve()


@pytest.fixture
def state_dir(home):
    return home / ".obshell"


@pytest.fixture
async def engine(home, state_dir):
    made = Seekdb(home, home / "seekdb", state_dir)
    yield made
    await made.close()


@pytest.fixture
def runs(home, holder):
    """A process that is the server for whoever looks."""
    shutil.copy("/bin/sleep", home / "seekdb")
    return holder(home, home / "run/seekdb.pid", home / "seekdb")


def been_up(state_dir):
    return (state_dir / "been-up").exists()


async def test_whoever_looks_at_a_server_that_runs_takes_note_of_it(engine, state_dir, runs):
    assert await engine.state() is ObState.PROCESS_RUNNING
    assert been_up(state_dir)


async def test_whoever_watches_a_server_takes_note_of_it(engine, state_dir, runs):
    watching = asyncio.create_task(engine.wait_death())
    runs.kill()
    await soon(watching)
    assert been_up(state_dir)


async def test_a_server_that_is_down_is_not_taken_for_up_by_a_look(engine, state_dir):
    assert await engine.state() is ObState.PROCESS_NOT_RUNNING
    assert not been_up(state_dir)


@pytest.mark.parametrize("missing", ["run/sql.sock", "store/sstable/meta.db", "store/slog"])
async def test_a_first_boot_that_is_not_complete_is_not_taken_for_one(
    engine, home, state_dir, runs, missing
):
    gone = home / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    await engine.state()
    assert not been_up(state_dir)


async def test_a_first_boot_that_is_begun_is_not_over_for_the_socket_of_an_earlier_one(
    engine, home, state_dir, runs
):
    FirstBoot(state_dir).begin(Layout.of(home))
    await engine.state()
    assert not been_up(state_dir)


@pytest.mark.parametrize("failing", [(Note, "make"), (Layout, "missing")])
async def test_a_look_does_not_fail_for_what_cannot_be_noted_and_the_next_one_notes_it(
    engine, state_dir, runs, monkeypatch, failing
):
    def broken(_):
        raise OSError("the disk is full, or gone")

    with monkeypatch.context() as patched:
        patched.setattr(*failing, broken)
        assert await engine.state() is ObState.PROCESS_RUNNING
    await engine.state()
    assert been_up(state_dir)


async def test_once_it_is_noted_nothing_is_written(engine, state_dir, runs, monkeypatch):
    await engine.state()
    monkeypatch.setattr(Note, "make", None)
    await engine.state()
    assert been_up(state_dir)


async def test_a_server_that_is_known_to_have_been_up_is_neither_made_anew_nor_removed(
    engine, home, state_dir
):
    config = ServerConfig(home, 2881, has_been_up=True)
    FirstBoot(state_dir).begin(Layout.of(home))
    lines = []
    with pytest.raises(errors.OBShellError):  # there is no program
        await engine.start(config, lines.append, Deadline.after(5))
    assert all((home / file).exists() for file in DATA)
    shutil.rmtree(home / "store")
    for attempt in (
        engine.check_start(config),
        engine.start(config, lines.append, Deadline.after(5)),
    ):
        with pytest.raises(errors.OBShellError, match="it has been up, but"):
            await attempt
    assert not (home / "store").exists()
