"""Names reach a server as one value of a statement or one word of a command, or not at all."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.engines import observer_command, seekdb_command
from pyobshell.engines.base import ServerConfig
from pyobshell.engines.launching import run_program
from pyobshell.engines.ob_cluster import ObCluster
from pyobshell.engines.ob_parameters import Setting
from pyobshell.engines.observer_files import ObserverFiles
from support.hostile_names import UNSEEN, VISIBLE

pytestmark = pytest.mark.anyio
ALL = VISIBLE | UNSEEN
_ARGUMENTS = "#!{python}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"


class Spoken:
    """What is said to a server: statements, and beside them their values."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.values: list[object] = []

    async def query(self, statement, *values, deadline, confidential=False):
        self.statements.append(statement)
        self.values += values
        return []

    query_long = query


@pytest.mark.parametrize("name", ALL.values(), ids=ALL)
async def test_no_name_is_a_part_of_a_statement(name):
    spoken, soon = Spoken(), Deadline.after(1)
    cluster = ObCluster(spoken)
    address = Address("10.0.0.1", 2882)
    await cluster.parameters.set(Setting("cpu_count", name, zone=name), soon)
    await cluster.parameters.set(Setting("cpu_count", name, server=name), soon)
    await cluster.parameters.set(Setting("cpu_count", name, tenant=name), soon)
    await cluster.add_server(address, name, soon)
    await cluster.add_zone(name, name, soon)
    await cluster.start_zone(name, soon)
    await cluster.stop_zone(name, soon)
    await cluster.delete_zone(name, soon)
    await cluster.bootstrap([(name, address)], soon)
    assert len(spoken.statements) == 9
    assert spoken.values.count(name) == 13
    assert all(name not in statement for statement in spoken.statements)
    for statement in spoken.statements:
        words = statement.replace("%s", "").replace("`cpu_count`", "")
        assert words.replace(" ", "").replace("=", "").isalpha()


@pytest.mark.parametrize("name", ALL.values(), ids=ALL)
async def test_no_name_of_a_parameter_that_is_no_word_is_said_at_all(name):
    spoken = Spoken()
    with pytest.raises(errors.OBShellError) as refused:
        await ObCluster(spoken).parameters.set(Setting(name, "1"), Deadline.after(1))
    assert refused.value.code is errors.ILLEGAL_ARGUMENT
    assert spoken.statements == []


@pytest.fixture
def program(tmp_path) -> Path:
    """A program that tells which words it was started with."""
    program = tmp_path / "program"
    program.write_text(_ARGUMENTS.format(python=sys.executable))
    program.chmod(0o700)
    return program


def arrived(command: list[str], home: Path) -> list[str]:
    """The words that arrive at a program; nothing else is done with them."""
    before = set(home.iterdir())
    code, printed = run_program(command, home=home)
    assert code == 0
    assert set(home.iterdir()) == before
    words: list[str] = json.loads(printed)
    return words


@pytest.mark.parametrize("name", VISIBLE.values(), ids=VISIBLE)
def test_each_name_arrives_at_an_observer_as_the_one_word_it_is(program, tmp_path, name):
    value = name.replace(",", "")  # which ends a value there, and is refused
    config = ServerConfig(
        tmp_path,
        2881,
        2882,
        data_dir=tmp_path / name,
        zone=name,
        cluster=name,
        cluster_id=7,
        parameters={"some_name": value},
    )
    files = ObserverFiles.of(tmp_path, config)
    command = observer_command.command_line(program, config, files, first=True)
    words = arrived(command, tmp_path)
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert (options["-n"], options["-z"], options["-c"]) == (name, name, "7")
    assert options["-o"] == f"some_name={value}"
    assert options["-d"] == str(tmp_path / name)


@pytest.mark.parametrize("name", VISIBLE.values(), ids=VISIBLE)
def test_each_name_arrives_at_seekdb_as_the_one_word_it_is(program, tmp_path, name):
    config = ServerConfig(
        tmp_path, 2881, data_dir=Path(name), redo_dir=Path(name), parameters={"some_name": name}
    )
    words = arrived(seekdb_command.command_line(program, config, tmp_path, first=True), tmp_path)
    assert words.count(str(tmp_path / name)) == 2
    assert f"some_name={name}" in words
    assert not any(word == name for word in words)


def test_a_word_that_cannot_be_one_is_a_clear_error(program, tmp_path):
    with pytest.raises(errors.OBShellError, match="cannot be run") as refused:
        run_program([str(program), "a\0b"], home=tmp_path)
    assert refused.value.code is errors.SERVER_UNAVAILABLE
