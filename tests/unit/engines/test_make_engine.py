"""An engine is made by its name, and only here."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyobshell import errors
from pyobshell.engines import Engine, make_engine


def test_seekdb_is_made_with_the_installed_program(tmp_path):
    engine: Engine = make_engine("seekdb", tmp_path, tmp_path / ".obshell", None)
    assert (engine.name, engine.home) == ("seekdb", tmp_path)
    assert not engine.is_initialized()


def test_an_observer_speaks_for_its_cluster_and_a_seekdb_for_itself(tmp_path):
    observer: Engine = make_engine("oceanbase", tmp_path, tmp_path, Path("/bin/true"))
    assert (observer.name, observer.home) == ("oceanbase", tmp_path)
    assert observer.cluster is not None
    assert make_engine("seekdb", tmp_path, tmp_path, None).cluster is None


@pytest.mark.parametrize("file", ["etc/observer.config.bin", "bin/observer"])
def test_without_a_name_it_is_the_kind_that_is_there(file, tmp_path):
    assert make_engine(None, tmp_path, tmp_path, None).name == "seekdb"
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).touch()
    assert make_engine(None, tmp_path, tmp_path, None).name == "oceanbase"


def test_without_a_name_it_is_the_kind_of_the_program_that_is_named(tmp_path):
    assert make_engine(None, tmp_path, tmp_path, Path("/opt/observer")).name == "oceanbase"
    assert make_engine(None, tmp_path, tmp_path, Path("/opt/seekdb")).name == "seekdb"


def test_other_names_are_refused(tmp_path):
    with pytest.raises(errors.OBShellError, match="'mysql' is unknown") as refused:
        make_engine("mysql", tmp_path, tmp_path, Path("/bin/true"))
    assert refused.value.code is errors.ILLEGAL_ARGUMENT
