"""Documentation that cannot rot: what users can meet is on the page that tells of it."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyobshell import errors
from pyobshell.api.app import make_app
from pyobshell.errors import ErrorCode

DOCS = Path(__file__).parents[2] / "docs"
SOURCES = Path(errors.__file__).parent
CODES = [code for code in vars(errors).values() if isinstance(code, ErrorCode)]


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_every_error_is_in_the_reference_with_its_status_and_text(code: ErrorCode) -> None:
    assert f"| `{code.name}` | {code.status} | {code.en} |" in (DOCS / "api.md").read_text()


def test_every_error_of_the_catalogue_can_be_met() -> None:
    sources = [path.read_text() for path in SOURCES.rglob("*.py") if path.name != "errors.py"]
    used = set(re.findall(r"\b[A-Z][A-Z_]+\b", "\n".join(sources)))
    names = {name for name, code in vars(errors).items() if isinstance(code, ErrorCode)}
    assert names <= used


def test_every_route_is_in_the_reference() -> None:
    reference = (DOCS / "api.md").read_text()
    routes = make_app(SimpleNamespace()).openapi()["paths"]
    assert len(routes) > 20
    missing = [path for path in routes if f"{path.removeprefix('/api/v1')}`" not in reference]
    assert missing == []
