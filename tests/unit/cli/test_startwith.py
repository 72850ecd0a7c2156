"""What an agent is started with, and what is said of what it cannot be started with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pyobshell.cli import startwith
from pyobshell.cli.outcome import CommandError, Exit
from pyobshell.cli.serve import keep
from pyobshell.settings import Paths, Settings


@pytest.fixture
def home(tmp_path) -> Paths:
    paths = Paths(tmp_path / "agent")
    paths.state_dir.mkdir(parents=True)
    return paths


def test_what_is_given_wins_over_what_was_kept(home):
    kept = {"ip": "10.0.0.1", "port": 2886, "base_dir": "/moved", "log_level": "INFO"}
    home.settings.write_text(json.dumps(kept))
    program = Path("x")
    program.touch(mode=0o755)
    settings = startwith.settings_of(
        home.base_dir, {"ip": None, "port": 2887, "observer": program}, ["stop_timeout_s=5"]
    )
    assert settings == {
        "ip": "10.0.0.1",
        "port": 2887,
        "base_dir": str(home.base_dir),
        "log_level": "INFO",
        "observer": str(Path.cwd() / program),
        "stop_timeout_s": "5",
    }


def test_a_first_start_needs_an_address(home):
    with pytest.raises(CommandError, match="give --ip") as refused:
        startwith.settings_of(home.base_dir, {}, None)
    assert refused.value.exit_code == Exit.NO_IP


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff"])
def test_a_damaged_file_is_named_with_what_to_do(home, content):
    home.settings.write_bytes(content.encode("latin-1"))
    with pytest.raises(CommandError, match=f"{home.settings} cannot be read.*give --ip") as refused:
        startwith.settings_of(home.base_dir, {}, None)
    assert refused.value.exit_code == Exit.USAGE


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_file_does_not_stop_a_start_that_needs_nothing_of_it(home, content, capsys):
    home.settings.write_text(content)
    settings = startwith.settings_of(home.base_dir, {"ip": "10.0.0.1"}, None)
    assert settings == {"ip": "10.0.0.1", "base_dir": str(home.base_dir)}
    assert f"{home.settings} cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "what_to_do"),
    [({"newer": 1}, "no such setting; remove it there"), ({"log_level": "X"}, "correct it there")],
)
def test_what_is_wrong_in_the_file_is_said_to_be_in_the_file(home, setting, what_to_do):
    home.settings.write_text(json.dumps({"ip": "10.0.0.1", **setting}))
    name = next(iter(setting))
    with pytest.raises(CommandError, match=f"{home.settings}: {name}: .*{what_to_do}"):
        startwith.settings_of(home.base_dir, {}, None)


def test_what_is_wrong_on_the_command_line_is_not_said_to_be_in_the_file(home):
    home.settings.write_text(json.dumps({"ip": "10.0.0.1", "log_level": "INFO"}))
    with pytest.raises(CommandError, match=r"^log_level: .*; newer: this release has no such"):
        startwith.settings_of(home.base_dir, {"log_level": "X"}, ["newer=1"])


@pytest.mark.parametrize(
    "ip", ["0.0.0.0", "::", "::0", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:0.0.0.0"]
)
def test_an_address_at_which_nobody_can_be_reached_is_refused(home, ip):
    with pytest.raises(CommandError, match="others cannot reach an agent at this") as refused:
        startwith.settings_of(home.base_dir, {"ip": ip}, None)
    assert refused.value.exit_code == Exit.INVALID_ADDRESS


@pytest.mark.parametrize(
    ("mode", "why"), [(None, "there is no such file"), (0o644, "it is not executable")]
)
def test_a_program_that_cannot_be_run_is_refused(home, tmp_path, mode, why):
    program = tmp_path / "observer"
    if mode is not None:
        program.touch(mode=mode)
    for given, more in (({"observer": program}, None), ({}, [f"observer={program}"])):
        with pytest.raises(CommandError, match=f"{program}: {why}") as refused:
            startwith.settings_of(home.base_dir, {"ip": "10.0.0.1", **given}, more)
        assert refused.value.exit_code == Exit.USAGE


def test_settings_are_on_the_disk_before_they_take_the_place_of_the_old(home, monkeypatch):
    home.settings.write_text("old")
    synced = []

    def fsync(descriptor: int) -> None:
        synced_file = Path(f"/proc/self/fd/{descriptor}")
        if not synced_file.is_dir():
            synced.append((home.settings.read_text(), synced_file.read_text()))

    monkeypatch.setattr(os, "fsync", fsync)
    keep(Settings(ip="10.0.0.1", base_dir=home.base_dir))
    assert synced == [("old", home.settings.read_text())]
    assert home.settings.stat().st_mode & 0o777 == 0o600


def test_files_of_tls_are_meant_from_here_and_an_empty_name_forgets_one(tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.chdir(tmp_path)
    given = {"ip": "10.0.0.1", "tls_cert": Path("c"), "tls_key": Path("~/k"), "tls_ca": Path("ca")}
    settings = startwith.settings_of(home, given, None)
    assert settings["tls_cert"] == str(tmp_path / "c")
    assert settings["tls_key"] == str(Path.home() / "k")
    (home / ".obshell").mkdir(parents=True)
    (home / ".obshell/settings.json").write_text(json.dumps(settings))
    for forgotten, more in (({"tls_ca": Path()}, None), ({}, ["tls_ca="])):
        later = startwith.settings_of(home, forgotten, more)
        assert (later["tls_cert"], later["tls_ca"]) == (str(tmp_path / "c"), None)


def test_half_of_tls_is_refused_in_words(tmp_path):
    given = {"ip": "10.0.0.1", "tls_cert": Path("c")}
    with pytest.raises(CommandError, match=r"^tls_cert and tls_key belong together$") as refused:
        startwith.settings_of(tmp_path, given, None)
    assert refused.value.exit_code == Exit.USAGE
