"""Which agent a command is for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pyobshell.address import Address
from pyobshell.cli import place
from pyobshell.cli.outcome import CommandError, Exit


@pytest.fixture
def agent_in(tmp_path):
    """Make a directory look as if an agent ran on it."""
    sockets = []

    def make(directory: Path) -> Path:
        (directory / "run").mkdir(parents=True, exist_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(directory / "run/obshell.sock"))
        sockets.append(listening)
        return directory

    yield make
    for one in sockets:
        one.close()


def test_the_option_wins_over_everything(agent_in, tmp_path, monkeypatch):
    agent_in(Path.cwd())
    monkeypatch.setenv("OBSHELL_BASE_DIR", "/elsewhere")
    assert place.find_base_dir(tmp_path / "given") == tmp_path / "given"


def test_the_environment_wins_over_where_we_are(agent_in, monkeypatch):
    agent_in(Path.cwd())
    monkeypatch.setenv("OBSHELL_BASE_DIR", "/elsewhere")
    assert place.find_base_dir(None) == Path("/elsewhere")


def test_the_current_directory_wins_over_the_one_at_home(agent_in):
    at_home = agent_in(Path.home() / ".obshell")
    assert place.find_base_dir(None) == at_home
    here = agent_in(Path.cwd())
    assert place.find_base_dir(None) == here


def test_without_an_agent_anywhere_it_says_what_to_give():
    with pytest.raises(CommandError, match="give --base-dir or --host, or set OBSHELL_BASE_DIR"):
        place.find_base_dir(None)


def test_a_home_without_an_agent_is_told_how_to_get_one(tmp_path):
    where = place.locate(tmp_path / "a b")
    with pytest.raises(CommandError, match=r"agent start --base-dir '.*/a b'") as refused:
        where.client()
    assert refused.value.exit_code == Exit.UNREACHABLE


def test_an_agent_is_started_where_one_was_started_before(tmp_path):
    with pytest.raises(CommandError, match="which home"):
        place.home_for_start(None)
    (Path.home() / ".obshell/.obshell").mkdir(parents=True)
    (Path.home() / ".obshell/.obshell/settings.json").touch()
    assert place.home_for_start(None) == Path.home() / ".obshell"


def test_the_home_of_obshells_own_layout_is_where_its_program_lies(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", [str(tmp_path / "bin/obshell")])
    assert place.home_of_program() == tmp_path
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    assert place.home_of_program() is None


def test_by_address_the_password_comes_from_option_file_or_environment(tmp_path, monkeypatch):
    file = tmp_path / "password"
    file.write_text("from file\nsecond line\n")
    monkeypatch.setenv("OB_ROOT_PASSWORD", "from environment")
    assert place.locate(None, "10.0.0.1", "from option", file).password == "from option"
    monkeypatch.setenv("OB_ROOT_PASSWORD", "from environment")
    assert place.locate(None, "10.0.0.1", None, file).password == "from file"
    monkeypatch.setenv("OB_ROOT_PASSWORD", "from environment")
    where = place.locate(None, "10.0.0.1:2887")
    assert where.password == "from environment"
    assert where.address == Address("10.0.0.1", 2887)


def test_the_password_in_the_environment_is_consumed(monkeypatch):
    monkeypatch.setenv("OB_ROOT_PASSWORD", "secret")
    place.locate(Path("/x"))
    assert "OB_ROOT_PASSWORD" not in os.environ


def test_without_a_terminal_a_missing_password_is_not_waited_for(monkeypatch, tmp_path):
    with (tmp_path / "empty").open("w+") as no_terminal:
        monkeypatch.setattr("sys.stdin", no_terminal)
        with pytest.raises(CommandError, match="--password-file"):
            place.locate(None, "10.0.0.1")


def test_a_command_to_be_shown_names_the_agent_as_it_was_named(tmp_path):
    assert place.locate(Path("/a b")).command("x") == "obshell x --base-dir '/a b'"
    where = place.locate(None, "::1", "secret")
    assert where.command("x") == "obshell x --host '[::1]:2886'"


def test_the_password_is_not_in_a_description_of_the_place():
    assert "secret" not in repr(place.locate(None, "10.0.0.1", "secret"))
