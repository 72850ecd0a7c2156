"""What is known of a sandbox, and whose a directory is."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from pyobshell.cli.outcome import CommandError
from pyobshell.cli.sandbox import down
from pyobshell.cli.sandbox.record import Node, Sandbox, missing_directories
from pyobshell.cli.sandbox.up import Plan, _draw


@pytest.fixture
def make_sandbox(tmp_path):
    def make(name: str = "box") -> Sandbox:
        directory = tmp_path / "some" / name
        node = Node(
            ip="127.0.0.1",
            port=2001,
            zone="zone1",
            sql_port=2002,
            rpc_port=2003,
            base_dir=directory / "node1",
        )
        return Sandbox(
            name=name,
            directory=directory,
            made=missing_directories(directory),
            engine="seekdb",
            observer=None,
            root_password="secret",
            nodes=[node],
        )

    return make


def test_a_sandbox_is_found_again_in_its_directory_and_in_the_list(make_sandbox):
    sandbox = make_sandbox()
    sandbox.claim()
    assert Sandbox.open(sandbox.directory) == sandbox
    assert Sandbox.known() == [sandbox]
    assert sandbox.ports == {2001, 2002, 2003}


def test_its_record_holds_a_password_and_is_for_its_user_only(make_sandbox):
    sandbox = make_sandbox()
    sandbox.claim()
    assert (sandbox.directory / "sandbox.json").stat().st_mode & 0o777 == 0o600


def test_a_directory_cannot_be_claimed_twice(make_sandbox):
    make_sandbox().claim()
    with pytest.raises(CommandError, match="sandbox down"):
        make_sandbox().claim()


def test_one_that_cannot_be_claimed_leaves_nothing(make_sandbox, tmp_path, monkeypatch):
    def full(_: Sandbox, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Sandbox, "model_dump_json", full)
    with pytest.raises(OSError, match="No space"):
        make_sandbox().claim()
    assert not (tmp_path / "some").exists()


@pytest.mark.parametrize("state", ["/dev/null/state", "/proc/state"])
def test_without_a_place_for_notes_it_is_only_not_in_the_list(make_sandbox, monkeypatch, state):
    monkeypatch.setenv("XDG_STATE_HOME", state)
    sandbox = make_sandbox()
    sandbox.claim()
    assert Sandbox.open(sandbox.directory) == sandbox
    assert Sandbox.known() == []
    assert sandbox.forget() == []


def test_up_refuses_what_is_no_directory(obshell, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = obshell("sandbox", "up", "--base-dir", str(tmp_path / "file"))
    assert code == 2
    assert "is not a directory" in err


def test_what_was_made_for_it_goes_with_it(make_sandbox, tmp_path):
    sandbox = make_sandbox()
    sandbox.claim()
    assert sandbox.forget() == []
    assert not (tmp_path / "some").exists()
    assert Sandbox.known() == []


def test_what_it_has_not_made_stays(make_sandbox, tmp_path):
    (tmp_path / "some").mkdir()
    sandbox = make_sandbox()
    sandbox.claim()
    (sandbox.directory / "notes.txt").touch()
    assert sandbox.forget() == [sandbox.directory]
    assert (sandbox.directory / "notes.txt").exists()
    assert Sandbox.known() == []


def test_a_directory_that_was_removed_by_hand_leaves_the_list(make_sandbox):
    gone, stays = make_sandbox("gone"), make_sandbox("stays")
    gone.claim()
    stays.claim()
    (gone.directory / "sandbox.json").unlink()
    assert Sandbox.known() == [stays]


@pytest.mark.parametrize("content", ["", "{}", '{"name": "x"}'])
def test_a_record_that_is_not_ours_is_refused(tmp_path, content):
    (tmp_path / "sandbox.json").write_text(content)
    with pytest.raises(CommandError, match="not ours"):
        Sandbox.open(tmp_path)


def test_a_copy_is_not_taken_for_the_sandbox(make_sandbox, tmp_path):
    sandbox = make_sandbox()
    sandbox.claim()
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "sandbox.json").write_text((sandbox.directory / "sandbox.json").read_text())
    with pytest.raises(CommandError, match="was made as"):
        Sandbox.open(copy)


def test_down_refuses_a_directory_that_holds_no_sandbox(obshell, tmp_path):
    (tmp_path / "mine.txt").touch()
    code, _, err = obshell("sandbox", "down", "--base-dir", str(tmp_path))
    assert code == 2
    assert "holds no sandbox" in err
    assert (tmp_path / "mine.txt").exists()


def test_up_refuses_a_directory_that_is_not_empty(obshell, tmp_path):
    Path(tmp_path / "mine.txt").touch()
    code, _, err = obshell("sandbox", "up", "--base-dir", str(tmp_path))
    assert code == 2
    assert "is not empty" in err


def test_up_refuses_more_zones_than_nodes(obshell, tmp_path):
    words = ("--base-dir", str(tmp_path / "x"), "--nodes", "2", "--zones", "3")
    code, _, err = obshell("sandbox", "up", *words)
    assert code == 2
    assert "2 nodes cannot be in 3 zones" in err


def test_up_refuses_a_program_that_cannot_be_run(obshell, tmp_path):
    words = ("--base-dir", str(tmp_path / "x"), "--observer", "/nonexistent")
    code, _, err = obshell("sandbox", "up", *words)
    assert code == 2
    assert "/nonexistent: there is no such file" in err
    assert not (tmp_path / "x").exists()


def test_the_list_is_empty_at_first(obshell):
    assert obshell("sandbox", "list", "--json") == (0, '{\n  "sandboxes": []\n}\n', "")


def test_nodes_are_spread_over_the_zones_in_turn_with_ports_of_their_own(tmp_path):
    plan = Plan(tmp_path, nodes=5, zones=2, name="x", engine="seekdb", observer=None)
    sandbox = _draw(plan, tmp_path, list(range(2000, 2015)))
    assert [node.zone for node in sandbox.nodes] == ["zone1", "zone2", "zone1", "zone2", "zone1"]
    assert sandbox.ports == set(range(2000, 2015))
    assert [node.base_dir.name for node in sandbox.nodes][::4] == ["node1", "node5"]
    assert len(sandbox.root_password) == 16
    assert sandbox.root_password.isalnum()


# --- what lies beside the homes ------------------------------------------------------------------


def test_what_is_there_when_it_is_up_is_its_own_and_what_comes_later_is_not(make_sandbox):
    sandbox = make_sandbox()
    sandbox.beside = None
    sandbox.claim()
    for name in ("node1", "shared"):
        (sandbox.directory / name).mkdir()
    sandbox.note_what_is_beside()
    (sandbox.directory / "mine").touch()
    again = Sandbox.open(sandbox.directory)
    assert [path.name for path in again.own] == ["node1", "shared"]
    assert (sandbox.directory / "sandbox.json").stat().st_mode & 0o777 == 0o600


def test_as_long_as_it_is_not_up_all_that_is_there_is_its_own(make_sandbox):
    sandbox = make_sandbox()
    sandbox.beside = None
    sandbox.claim()
    (sandbox.directory / "shared").mkdir()
    again = Sandbox.open(sandbox.directory)
    assert [path.name for path in again.own] == ["shared"]


def test_one_of_a_release_that_did_not_note_it_has_its_homes_alone(make_sandbox):
    sandbox = make_sandbox()
    sandbox.claim()
    (sandbox.directory / "shared").mkdir()
    assert sandbox.own == []


@pytest.mark.anyio
async def test_what_is_beside_goes_when_nobody_has_it_open_any_more(make_sandbox, monkeypatch):
    sandbox = make_sandbox()
    sandbox.beside = None
    sandbox.claim()
    shared = sandbox.directory / "shared"
    shared.mkdir()
    held = shared / "held"
    held.touch()
    with held.open() as file:
        holder = await asyncio.create_subprocess_exec("sleep", "60", stdin=file)
    monkeypatch.setattr(down, "_ENDING_S", 0.2)
    with pytest.raises(CommandError, match=f"in use by process {holder.pid}"):
        await down.remove(sandbox)
    assert held.exists()
    monkeypatch.setattr(down, "_ENDING_S", 30)
    removing = asyncio.create_task(down.remove(sandbox))
    await asyncio.sleep(0)
    holder.kill()
    await holder.wait()
    assert await removing == []
    assert not sandbox.directory.exists()
