"""No password is sent to a socket on which another user may listen."""

from __future__ import annotations

import os
import socket

import pytest

from pyobshell.cli import place, rightful
from pyobshell.cli.outcome import CommandError, Exit

OTHER = 65534


@pytest.fixture
def home(tmp_path):
    """A home in which somebody listens."""
    (tmp_path / "run").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "run/obshell.sock"))
        listening.listen()
        yield tmp_path


def refusal(of) -> str:
    with pytest.raises(CommandError) as refused:
        of()
    assert refused.value.exit_code is Exit.PERMISSION
    return str(refused.value)


def test_the_own_agent_is_asked(home):
    place.locate(home).client()


def test_another_user_who_listens_is_told_nothing(home, monkeypatch):
    monkeypatch.setattr(rightful, "_listener", lambda _: OTHER)
    assert "nothing was sent" in refusal(place.locate(home).client)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_an_agent_of_another_user_is_asked_if_it_is_named(home, monkeypatch):
    os.chown(home, OTHER, OTHER)
    monkeypatch.setattr(rightful, "_listener", lambda _: OTHER)
    place.locate(home).client()
    monkeypatch.chdir(home)
    assert "give --base-dir" in refusal(lambda: place.locate(None))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_directory_for_all_is_no_home_with_somebody_elses_socket(home):
    home.chmod(0o1777)
    os.chown(home / "run", OTHER, OTHER)
    assert "nothing was sent" in refusal(place.locate(home).client)


def test_a_directory_for_all_is_no_home_that_need_not_be_named(home, monkeypatch):
    (home / ".obshell").mkdir()
    (home / ".obshell/settings.json").write_text("{}")
    monkeypatch.delenv(place.ENVIRONMENT, raising=False)
    monkeypatch.chdir(home)
    assert place.home_for_start(None) == place.find_base_dir(None) == home
    home.chmod(0o1777)
    for find in (place.home_for_start, place.find_base_dir):
        assert "give --base-dir" in refusal(lambda find=find: find(None))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("part", [".obshell", "run"])
def test_nor_one_in_which_another_user_has_a_part(home, monkeypatch, part):
    (home / ".obshell").mkdir()
    (home / ".obshell/settings.json").write_text("{}")
    monkeypatch.delenv(place.ENVIRONMENT, raising=False)
    monkeypatch.chdir(home)
    os.chown(home / part, OTHER, OTHER)
    for find in (place.home_for_start, place.find_base_dir):
        assert part in refusal(lambda find=find: find(None))


def test_while_it_does_not_show_who_listens_nothing_is_said(tmp_path):
    (tmp_path / "run").mkdir(mode=0o700)
    path = str(tmp_path / "run/obshell.sock")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        listening.bind(path)
        listening.listen(0)
        first.connect(path)  # there is no room for another
        with pytest.raises(CommandError, match="nothing was sent") as refused:
            place.locate(tmp_path).client()
    assert refused.value.exit_code is Exit.UNREACHABLE


def test_whoever_listens_is_known_by_the_kernel(home):
    assert rightful._listener(home / "run/obshell.sock") == os.geteuid()
    assert rightful._listener(home / "run/none.sock") is None
