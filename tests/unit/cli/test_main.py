"""The command as a whole: its groups, its help, and how little it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from pyobshell import __version__
from pyobshell.cli.main import make_app
from pyobshell.cli.outcome import Exit
from pyobshell.settings import Settings

_LOADED = """
import sys
from pyobshell.cli.main import make_app
words = sys.argv[1:]
try:
    make_app(words)(words)
except SystemExit:
    pass
print("\\n".join(sys.modules), file=sys.stderr)
"""


def loaded_by(*words: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", _LOADED, *words], capture_output=True, text=True)
    return set(done.stderr.split())


def test_help_loads_neither_client_nor_server():
    heavy = {"pydantic", "httpx", "asyncio", "fastapi", "sqlalchemy", "pyobshell.wire"}
    assert loaded_by("--help").isdisjoint(heavy)


def test_a_command_on_the_local_socket_loads_no_server_and_no_cryptography():
    heavy = {"fastapi", "sqlalchemy", "cryptography", "pyobshell.agent", "pyobshell.engines"}
    modules = loaded_by("task", "show", "--base-dir", "/nowhere")
    assert "pyobshell.client" in modules
    assert modules.isdisjoint(heavy)


@pytest.mark.parametrize(
    ("group", "commands"),
    [
        ("agent", ["start", "stop", "restart", "status", "doctor", "gen-cert", "reload-tls"]),
        ("admin", ["start", "stop", "restart"]),
        ("cluster", ["join", "remove", "init", "start", "stop", "show"]),
        ("task", ["show", "watch", "cancel", "rollback", "retry", "pass"]),
        ("sandbox", ["up", "down", "list"]),
    ],
)
def test_every_command_has_help(obshell, group, commands):
    code, said, _ = obshell(group, "-h")
    assert code == 0
    for command in commands:
        assert f" {command} " in said
        code, help_text, _ = obshell(group, command, "--help")
        assert code == 0
        assert f"obshell {group} {command}" in help_text


def test_groups_are_listed_but_hidden_ones(obshell):
    _, said, _ = obshell("--help")
    for name in ("agent", "cluster", "task", "sandbox", "demo"):
        assert f" {name} " in said
    assert "admin" not in said
    assert "utilities" not in said


def test_the_version_is_told(obshell):
    assert obshell("--version") == (0, f"obshell (pyobshell) {__version__}\n", "")


@pytest.mark.parametrize("words", [("nonsense",), ("cluster", "nonsense"), ("task", "watch")])
def test_wrong_usage_is_exit_code_2(obshell, words):
    assert obshell(*words)[0] == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("bogus",), "No such command 'bogus'"),
        (("--bogus",), "No such option: --bogus"),
        (("cluster", "bogus"), "No such command 'bogus'"),
        (("cluster", "stop", "--bogus"), "No such option: --bogus"),
        (("sandbox", "up", "--base-dir", "/x", "--nodes", "0"), "'--nodes'"),
        (("agent", "start", "--port", "x"), "'--port'"),
        (("task", "watch"), "Missing option"),
    ],
)
def test_with_json_wrong_usage_is_a_document_too(obshell, words, why):
    code, out, err = obshell(*words, "--json")
    assert code == 2
    assert why in json.loads(out)["error"]["message"]
    assert "Usage:" in err
    assert obshell(*words)[1] == ""


def test_details_of_all_tasks_at_once_are_refused(obshell):
    code, _, err = obshell("task", "show", "-d", "--base-dir", "/nowhere")
    assert code == 2
    assert "needs --id" in err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--engine", "oceanbase"), "name its program: --observer PATH"),
        (("--engine", "mysql"), "use seekdb or oceanbase"),
    ],
)
def test_a_sandbox_without_its_program_is_refused_beforehand(obshell, tmp_path, words, why):
    code, _, err = obshell("sandbox", "up", "--base-dir", str(tmp_path / "box"), *words)
    assert code == 2
    assert why in err
    assert not (tmp_path / "box").exists()


def test_every_exit_code_and_every_setting_is_in_the_operations_guide():
    guide = (Path(__file__).parents[3] / "docs/operations.md").read_text()
    assert [code for code in Exit if f"| {int(code)} | " not in guide] == []
    options = ("ip", "port", "base_dir", "engine", "observer", "log_level")
    options += ("tls_cert", "tls_key", "tls_ca", "tls")
    for name, field in Settings.model_fields.items():
        shown = f"| `{name}` | {field.default} |"
        assert (f"`--{name.replace('_', '-')}`" if name in options else shown) in guide, name


def test_every_option_that_is_shown_has_help(monkeypatch):
    monkeypatch.setenv("_OBSHELL_COMPLETE", "")  # with it all groups are loaded
    without, commands = [], [get_command(make_app([]))]
    while commands:
        command = commands.pop()
        commands += getattr(command, "commands", {}).values()
        without += [
            (command.name, option.name)
            for option in command.params
            if not (option.help or option.hidden)
        ]
    assert without == []


def test_the_service_is_not_restarted_for_what_no_restart_can_mend():
    unit = (Path(__file__).parents[3] / "docs/pyobshell.service").read_text()
    line = next(one for one in unit.splitlines() if one.startswith("RestartPreventExitStatus="))
    codes = {int(word) for word in line.partition("=")[2].split()}
    assert codes == {
        Exit.USAGE,
        Exit.NO_IP,
        Exit.INVALID_ADDRESS,
        Exit.ADDRESS_CHANGED,
        Exit.PERMISSION,
        Exit.DAMAGED,
    }
