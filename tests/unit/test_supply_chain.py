"""What is installed with the package, and what is in it, is what should be, and nothing else."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src/pyobshell"
LOCKS = [ROOT / "requirements.lock", ROOT / "tools/audit.lock"]

# --- what is locked ------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_requirement_is_pinned_with_hashes(lock):
    text = lock.read_text().replace("\\\n", " ")
    requirements = [line for line in text.splitlines() if line.strip()]
    assert len(requirements) > 20
    pinned = r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!-]+( ;[^\\]*?)?( +--hash=sha256:[0-9a-f]{64})+ *"
    assert [line for line in requirements if not re.fullmatch(pinned, line)] == []


def test_everything_that_is_declared_is_locked():
    locked = {line.partition("==")[0] for line in LOCKS[0].read_text().splitlines()}
    declared = distribution("pyobshell").requires or []
    names = {Requirement(one).name.lower() for one in declared}
    assert len(names) > 20
    assert names <= locked


# --- licences ------------------------------------------------------------------------------------

ALLOWED = re.compile(r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL.2\.0|Mozilla")


def installed_with_it() -> set[str]:
    """The names of all that comes with the package, without its extras but that of seekdb."""
    found, wanted = set(), ["pyobshell"]
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        found.add(name)
        for one in map(Requirement, distribution(name).requires or []):
            if one.marker is None or one.marker.evaluate({"extra": ""}):
                wanted.append(one.name)
    return found | {"pylibseekdb"}


def test_nothing_that_comes_with_it_has_a_licence_that_asks_for_more_than_its_text():
    names = installed_with_it()
    assert len(names) > 30
    for name in names:
        about = distribution(name).metadata
        told = [about.get("License-Expression") or "", *(about.get_all("Classifier") or [])]
        licences = [one for one in told if one and ("::" not in one or "License ::" in one)]
        licences = licences or [about.get("License") or ""]
        assert ALLOWED.search(" ".join(licences)), (name, licences)
        assert not re.search(r"\bA?GPL|\bLGPL", " ".join(licences)), (name, licences)


# --- what is built -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A directory with the wheel and the source distribution; made without any network."""
    directory = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return directory


def test_the_wheel_has_the_modules_and_what_tells_of_them(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        (about,) = {name.partition("/")[0] for name in inside} - {"pyobshell"}
        entry_points = archive.read(f"{about}/entry_points.txt").decode()
        metadata = archive.read(f"{about}/METADATA").decode()
    sources = {
        f"pyobshell/{file.relative_to(SOURCES)}"
        for kind in ("*.py", "py.typed", "*.mako")
        for file in SOURCES.rglob(kind)
    }
    told = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    assert inside == sources | {f"{about}/{name}" for name in told}
    assert entry_points.split() == [
        "[console_scripts]",
        "obshell",
        "=",
        "pyobshell.cli.main:main",
    ]
    assert "License-Expression: Apache-2.0" in metadata


def test_the_source_distribution_has_no_more_than_sources_and_docs(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as inside:
        names = [name.partition("/")[2] for name in inside.getnames()]
    assert {name.partition("/")[0] for name in names} == {
        *("src", "docs", "README.md", "LICENSE", "CHANGELOG.md"),
        *("pyproject.toml", "PKG-INFO", ".gitignore"),
    }


@pytest.mark.long
def test_the_wheel_is_installed_and_runs(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "clean"], check=True)
    python = tmp_path / "clean/bin/python"
    install = [python, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet", wheel]
    subprocess.run(install, check=True)
    # What it needs is that of this environment: nothing is fetched.
    here = distribution("typer").locate_file("")
    (site,) = (tmp_path / "clean/lib").glob("python*/site-packages")
    (site / "needed.pth").write_text(f"{here}\n")
    program = tmp_path / "clean/bin/obshell"
    told = subprocess.run(
        [program, "--version"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert told.stdout == f"obshell (pyobshell) {distribution('pyobshell').version}\n"
    where = [python, "-c", "import pyobshell.cli.serve as it; print(it.__file__)"]
    shown = subprocess.run(where, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert shown.stdout.startswith(str(site))


# --- make audit ----------------------------------------------------------------------------------

CLEAN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "not found"}
VULNERABLE = {
    "name": "c",
    "version": "2",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"], "aliases": []}],
}


@pytest.fixture
def audit(tmp_path, capsys):
    """Audit with a pip-audit that says something; gives the exit code, and what is told."""
    module = runpy.run_path(str(ROOT / "tools/audit.py"))

    def run(said: str, code: int = 0) -> tuple[int, str]:
        program = tmp_path / "pip-audit"
        script = f"cat <<'EOF'\n{said}\nEOF\necho cannot resolve >&2\nexit {code}\n"
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o700)
        verdict = module["audit"](program, [ROOT / "requirements.lock"])
        return int(verdict), capsys.readouterr().out

    return run


def test_an_audit_that_finds_nothing_is_clean(audit):
    code, told = audit(json.dumps({"dependencies": [CLEAN, CLEAN]}))
    assert (code, told) == (0, "requirements.lock: none of 2 has a known vulnerability\n")


def test_an_audit_names_what_is_vulnerable_and_what_mends_it(audit):
    code, told = audit(json.dumps({"dependencies": [CLEAN, SKIPPED, VULNERABLE]}), 1)
    assert (code, told) == (1, "c 2: PYSEC-1, mended in 3\n")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (json.dumps({"dependencies": [CLEAN, SKIPPED]}), "1 of 2 are not known there: not found"),
        (json.dumps({"dependencies": []}), "nothing is in it"),
        ("", "cannot resolve"),
        ("[]", "cannot resolve"),
    ],
)
def test_an_audit_that_could_not_be_made_says_so_and_is_no_success(audit, said, why):
    code, told = audit(said)
    assert code == 3
    assert told.startswith("requirements.lock: NOT AUDITED")
    assert why in told
