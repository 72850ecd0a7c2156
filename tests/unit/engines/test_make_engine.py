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


@pytest.mark.parametrize(
    ("name", "reason"), [("oceanbase", "not available yet"), ("mysql", "'mysql' is unknown")]
)
def test_other_names_are_refused(name, reason, tmp_path):
    with pytest.raises(errors.OBShellError, match=reason) as refused:
        make_engine(name, tmp_path, tmp_path, Path("/bin/true"))
    assert refused.value.code is errors.ILLEGAL_ARGUMENT
