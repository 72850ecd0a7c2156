"""`obshell agent password` and `rotate-key`, and how other commands are given that password."""

from __future__ import annotations

import json
import os

import pytest

from pyobshell.cli import place
from pyobshell.client import Client

HOST = ("--host", "10.0.0.1:2886")


@pytest.fixture
def asked(monkeypatch):
    """What agents were asked: the credentials, the route, the body."""
    calls = []

    async def call(self, method, path, body=None):
        calls.append((self._agent_password, self._password, path, body))

    monkeypatch.setattr(Client, "call", call)
    return calls


@pytest.fixture
def secret(tmp_path):
    def write(text):
        file = tmp_path / f"file of {text}"
        file.write_text(text + "\n")
        return str(file)

    return write


def test_it_is_set_from_a_file_or_the_environment(obshell, asked, secret, monkeypatch):
    words = ("agent", "password", *HOST, "--agent-password-file", secret("old"))
    code, out, _ = obshell(*words, "--new-password-file", secret("new"))
    assert (code, out) == (0, "The agent password is set\n")
    monkeypatch.setenv("OB_NEW_AGENT_PASSWORD", "newer")
    code, out, _ = obshell(*words, "--json")
    assert (code, json.loads(out)) == (0, {"set": True})
    assert asked == [
        ("old", "", "/agent/password", {"password": "new"}),
        ("old", "", "/agent/password", {"password": "newer"}),
    ]
    assert "OB_NEW_AGENT_PASSWORD" not in os.environ


def test_one_in_a_cluster_without_any_is_asked_with_roots(obshell, asked, secret):
    words = ("--password-file", secret("root's"), "--new-password-file", secret("new"))
    assert obshell("agent", "password", *HOST, *words)[0] == 0
    assert asked == [(None, "root's", "/agent/password", {"password": "new"})]


def test_without_a_terminal_or_with_nothing_it_is_not_set(
    obshell, asked, secret, tmp_path, monkeypatch
):
    monkeypatch.setenv("OB_AGENT_PASSWORD", "old")
    with (tmp_path / "empty").open("w+") as no_terminal:
        monkeypatch.setattr("sys.stdin", no_terminal)
        code, _, err = obshell("agent", "password", *HOST)
    assert code == 2
    assert "OB_NEW_AGENT_PASSWORD" in err
    monkeypatch.setenv("OB_AGENT_PASSWORD", "old")
    code, _, err = obshell("agent", "password", *HOST, "--new-password-file", secret(""))
    assert code == 2
    assert asked == []


def test_any_command_takes_it_from_the_environment(monkeypatch, secret):
    monkeypatch.setenv("OB_AGENT_PASSWORD", "own")
    monkeypatch.setenv("OB_ROOT_PASSWORD", "root's")
    where = place.locate(None, "10.0.0.1")
    assert (where.agent_password, where.password) == ("own", "")
    assert "own" not in repr(where)
    assert {"OB_AGENT_PASSWORD", "OB_ROOT_PASSWORD"}.isdisjoint(os.environ)
    monkeypatch.setenv("OB_AGENT_PASSWORD", "own")
    where = place.locate(None, "10.0.0.1", "given")
    assert (where.agent_password, where.password) == (None, "given")


def test_a_key_is_rotated_and_who_learns_it_later_is_named(obshell, monkeypatch):
    asked = []

    async def call(self, method, path, body=None):
        asked.append((path, body))
        late = [{"agent": "10.0.0.2:2886", "message": "out of reach"}]
        return {"public_key": "k", "key_bits": body["key_bits"], "unreachable": late}

    monkeypatch.setattr(Client, "call", call)
    monkeypatch.setenv("OB_AGENT_PASSWORD", "own")
    code, out, _ = obshell("agent", "rotate-key", *HOST, "--key-bits", "3072")
    assert code == 0
    assert out == (
        "The agent has a new key of 3072 bits\n10.0.0.2:2886 learns it later: out of reach\n"
    )
    monkeypatch.setenv("OB_AGENT_PASSWORD", "own")
    code, out, _ = obshell("agent", "rotate-key", *HOST, "--json")
    assert (code, json.loads(out)["key_bits"]) == (0, 2048)
    assert asked == [("/agent/rotate-key", {"key_bits": bits}) for bits in (3072, 2048)]
    assert obshell("agent", "rotate-key", *HOST, "--key-bits", "1024")[0] == 2
