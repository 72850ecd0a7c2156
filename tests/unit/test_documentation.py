"""Documentation that cannot rot: what users can meet is on the page that tells of it."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyobshell import errors
from pyobshell.api.app import make_app
from pyobshell.errors import ErrorCode

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
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


# --- the security model --------------------------------------------------------------------------

_PROOFS = "| threat | what is done | test that proves it |"
_PROOF = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def threats() -> list[str]:
    """The rows of all tables that tell by which tests a threat is proven to be met."""
    rows, in_table = [], False
    for line in (DOCS / "security.md").read_text().splitlines():
        if in_table and line.startswith("| ") and not line.startswith("| ---"):
            rows.append(line)
        in_table = line == _PROOFS or (in_table and line.startswith("|"))
    return rows


@pytest.mark.parametrize("row", threats(), ids=lambda row: row.split("|")[1].strip()[:40])
def test_each_threat_names_tests_that_there_are(row: str) -> None:
    proofs = _PROOF.findall(row.split("|")[3])
    assert proofs
    for file, test in proofs:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), test


def test_the_security_model_has_threats() -> None:
    assert len(threats()) > 15
