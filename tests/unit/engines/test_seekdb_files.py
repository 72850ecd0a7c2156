"""The server's own files are known by name, and nothing else is ever removed."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from pyobshell import errors
from pyobshell.engines.launching import last_error
from pyobshell.engines.seekdb_files import FirstBoot, Layout, make_directories

SERVER_FILES = [
    "etc/seekdb.data_version.bin",
    "log/seekdb.log",
    "log/seekdb.log.20261124180920",
    "run/seekdb",
    "run/sql.sock",
    "run/telemetry.json",
    "store/sstable/block_file",
    "store/slog/server/1",
    "store/redo/sys/log_stream/log/0",
]
OTHERS_FILES = ["run/agent.sock", "log/obshell.log", "etc/notes", "store/notes", ".obshell/key"]


@pytest.fixture
def home(tmp_path):
    """A home with the files of a server and those of others."""
    for name in [*SERVER_FILES, *OTHERS_FILES, "run/seekdb.pid"]:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    return tmp_path


def files_in(home):
    return {str(file.relative_to(home)) for file in home.rglob("*") if file.is_file()}


def note(home, **parameters):
    database = home / "store/sstable/meta.db"
    database.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(database)
    connection.execute("create table __all_sys_parameter (name text, value text)")
    connection.executemany("insert into __all_sys_parameter values (?, ?)", parameters.items())
    connection.commit()
    connection.close()


def test_the_directories_are_those_given_else_noted_else_the_defaults(tmp_path):
    assert Layout.of(tmp_path) == Layout(tmp_path, tmp_path / "store", tmp_path / "store/redo")
    note(tmp_path, data_dir="data", redo_dir="/redo")
    assert Layout.of(tmp_path) == Layout(tmp_path, tmp_path / "data", Path("/redo"))
    assert Layout.of(tmp_path, tmp_path / "other").data == tmp_path / "other"


def test_reading_the_notes_leaves_no_trace(tmp_path):
    note(tmp_path, data_dir="data")
    Layout.of(tmp_path)
    assert files_in(tmp_path) == {"store/sstable/meta.db"}


def test_damaged_notes_tell_nothing(tmp_path):
    (tmp_path / "store/sstable").mkdir(parents=True)
    (tmp_path / "store/sstable/meta.db").write_text("garbage")
    assert Layout.of(tmp_path).data == tmp_path / "store"


def test_removing_the_server_leaves_its_lock_and_what_others_have(home):
    Layout.of(home).remove_server_files()
    assert files_in(home) == {*OTHERS_FILES, "run/seekdb.pid"}


def test_removing_all_leaves_what_others_have(home):
    layout = Layout.of(home)
    layout.remove_all()
    layout.remove_all()
    assert files_in(home) == set(OTHERS_FILES)


def test_removing_all_of_a_home_that_is_not_there_makes_none(tmp_path):
    Layout.of(tmp_path / "gone").remove_all()
    assert not (tmp_path / "gone").exists()


def test_empty_directories_go_too(tmp_path):
    layout = Layout.of(tmp_path / "home", tmp_path / "data", tmp_path / "redo")
    make_directories(layout)
    layout.remove_all()
    assert list(tmp_path.iterdir()) == [tmp_path / "home"]


@pytest.mark.parametrize("action", ["remove_server_files", "remove_all"])
def test_nothing_is_removed_while_a_server_runs(action, home, holder):
    holder(home, home / "run/seekdb.pid")
    before = files_in(home)
    with pytest.raises(errors.OBShellError, match="stop it first"):
        getattr(Layout.of(home), action)()
    assert files_in(home) == before


def test_a_home_is_fresh_or_initialized_or_neither(tmp_path):
    def seen():
        layout = Layout.of(tmp_path)
        return layout.is_fresh(), layout.is_initialized()

    assert seen() == (True, False)
    (tmp_path / "store/redo/sys").mkdir(parents=True)
    assert seen() == (False, False)
    note(tmp_path)
    assert seen() == (False, True)


def test_directories_are_made_again_without_complaint(tmp_path):
    layout = Layout.of(tmp_path / "home", tmp_path / "data")
    make_directories(layout)
    make_directories(layout)
    assert (tmp_path / "data").is_dir()


@pytest.mark.parametrize("which", ["data", "redo"])
def test_a_directory_that_is_not_empty_is_refused(which, tmp_path):
    layout = Layout.of(tmp_path / "home", tmp_path / "data", tmp_path / "redo")
    (tmp_path / which / "lost+found").mkdir(parents=True)
    make_directories(layout)
    (tmp_path / which / "something").touch()
    with pytest.raises(errors.OBShellError, match=f"{which} is not empty"):
        make_directories(layout)


def test_a_first_boot_is_ruined_only_if_it_was_begun_here_and_not_completed(tmp_path):
    layout = Layout.of(tmp_path)
    first_boot = FirstBoot(tmp_path / ".obshell")
    (tmp_path / "run").mkdir()
    layout.socket.touch()
    assert not first_boot.is_ruined(layout)
    first_boot.begin(layout)
    assert first_boot.is_ruined(layout)
    layout.socket.touch()
    assert not first_boot.is_ruined(layout)
    layout.socket.unlink()
    first_boot.end()
    first_boot.end()
    assert not first_boot.is_ruined(layout)
    first_boot.begin(layout)
    assert not first_boot.is_ruined(layout)


def test_a_server_that_has_been_up_must_find_all_of_its_data_until_it_is_removed(tmp_path):
    layout = Layout.of(tmp_path, tmp_path / "data", tmp_path / "redo")
    first_boot = FirstBoot(tmp_path / ".obshell")
    first_boot.require_data(layout)
    first_boot.end()
    for file in ("store/sstable/meta.db", "redo/sys/x", "data/slog/x", "data/sstable/block_file"):
        with pytest.raises(errors.OBShellError) as refusal:
            first_boot.require_data(layout)
        assert refusal.value.code is errors.SERVER_UNAVAILABLE
        assert str(tmp_path / file.removesuffix("/x")) in str(refusal.value)
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    first_boot.require_data(layout)
    shutil.rmtree(tmp_path / "data")
    first_boot.forget()
    first_boot.require_data(layout)


def test_data_is_required_of_a_server_that_is_known_to_have_been_up_without_a_note(tmp_path):
    first_boot = FirstBoot(tmp_path / ".obshell")
    with pytest.raises(errors.OBShellError, match=r"has been up, but .*meta.db is missing"):
        first_boot.require_data(Layout.of(tmp_path), has_been_up=True)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("[t] ERROR old\n", "[t] INFO fine\n", None),
        ("[t] ERROR old\n", "[t] ERROR first\n[t] ERROR last\n[t] WARN later\n", "[t] ERROR last"),
        ("", "[t] ERROR " + "x" * 1000, "[t] ERROR " + "x" * 390),
        ("", "[t] INFO of ERROR\n", None),
    ],
)
def test_the_last_error_since_the_start_is_found(before, after, expected, tmp_path):
    layout = Layout.of(tmp_path)
    layout.log.parent.mkdir()
    layout.log.write_text(before + after)
    assert last_error(layout.log, len(before)) == expected


def test_a_log_that_was_rotated_is_read_from_its_beginning(tmp_path):
    layout = Layout.of(tmp_path)
    assert last_error(layout.log, 0) is None
    layout.log.parent.mkdir()
    layout.log.write_text("[t] ERROR new\n")
    assert last_error(layout.log, 1 << 20) == "[t] ERROR new"
