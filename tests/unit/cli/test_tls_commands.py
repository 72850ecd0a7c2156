"""Certificates from the command line, and whom commands trust that ask an agent by address."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from pyobshell.address import Address
from pyobshell.cli import place, trust
from pyobshell.cli.outcome import CommandError, Exit
from pyobshell.cli.trust import Trust, hoisted
from pyobshell.security.tls import Tls
from pyobshell.settings import Settings


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (trust.CA, trust.CERT, trust.KEY):
        monkeypatch.setenv(name, "")
    return monkeypatch


def content(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_what_is_made_can_be_used(obshell, tmp_path):
    hosts = ("10.0.0.1", "2001:db8::1,db2.example.org")
    code, out, _ = obshell("agent", "gen-cert", *hosts, "--dir", str(tmp_path / "c"), "--json")
    made = {name: Path(file) for name, file in json.loads(out).items()}
    assert code == 0
    assert sorted(made) == sorted(
        f"{name}.{kind}"
        for name in ("ca", "10.0.0.1", "2001_db8__1", "client")
        for kind in ("crt", "key")
    )
    modes = {name: stat.S_IMODE(file.stat().st_mode) for name, file in made.items()}
    assert {mode for name, mode in modes.items() if name.endswith(".key")} == {0o600}
    for ip, name in (("10.0.0.1", "10.0.0.1"), ("2001:db8::1", "2001_db8__1")):
        files = {"tls_cert": made[f"{name}.crt"], "tls_key": made[f"{name}.key"]}
        Tls(Settings(ip=ip, base_dir=tmp_path, tls_ca=made["ca.crt"], **files))
    Trust(made["ca.crt"], made["client.crt"], made["client.key"]).context()


def test_nothing_is_overwritten_unless_that_is_asked_for(obshell, tmp_path):
    directory = tmp_path / "c"
    words = ("agent", "gen-cert", "--dir", str(directory), "10.0.0.1")
    assert obshell(*words)[0] == 0
    first = content(directory)
    code, _, err = obshell(*words, "10.0.0.2")
    assert (code, content(directory)) == (2, first)
    assert "10.0.0.1.crt" in err
    assert "--renew" in err
    assert obshell(*words, "--renew")[0] == 0
    renewed = content(directory)
    changed = {name for name in first if renewed[name] != first[name]}
    assert changed == {"10.0.0.1.crt", "10.0.0.1.key"}
    assert obshell(*words[:-1], "10.0.0.2")[0] == 0
    assert content(directory).keys() - first.keys() == {"10.0.0.2.crt", "10.0.0.2.key"}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("a/b",), "'a/b'"),
        (("ca",), "'ca'"),
        (("10.0.0.1", "10.0.0.1"), "'10.0.0.1' is given twice"),
        ((",",), "',' is no host"),
        (("höst",), "höst"),
        (("--client", ""), "'' is no name"),
        (("--client", "a\nb"), "is no name"),
        (("--client", "a" * 65), "is no name"),
        (("--client", "../a"), "'../a' is no name"),
        (("10.0.0.1", "--days", "0"), "--days"),
    ],
)
def test_what_cannot_be_certified_leaves_nothing(obshell, tmp_path, words, why):
    directory = tmp_path / "new"
    code, _, err = obshell("agent", "gen-cert", "--dir", str(directory), *words)
    assert code == 2
    assert why in err
    assert not directory.exists()


def test_for_a_ca_that_is_there_it_must_be_said_what_to_certify(obshell, tmp_path):
    words = ("agent", "gen-cert", "--dir", str(tmp_path))
    assert obshell(*words, "--client", "me")[0] == 0
    code, _, err = obshell(*words)
    assert code == 2
    assert "name at least one host" in err


@pytest.mark.parametrize(("missing", "why"), [("ca.key", "ca.key is missing"), ("", "no CA made")])
def test_a_ca_that_is_not_whole_is_not_made_anew(obshell, tmp_path, missing, why):
    assert obshell("agent", "gen-cert", "--dir", str(tmp_path), "10.0.0.1")[0] == 0
    if missing:
        (tmp_path / missing).unlink()
    else:
        (tmp_path / "ca.key").write_bytes((tmp_path / "client.key").read_bytes())
    code, _, err = obshell("agent", "gen-cert", "--dir", str(tmp_path), "10.0.0.2")
    assert code == 2
    assert why in err


# --- commands that ask by address ----------------------------------------------------------------


def test_options_for_tls_may_stand_anywhere():
    words = ["task", "show", "--cacert", "ca", "-i", "1", "--key=k", "--cert", "c"]
    assert hoisted(words) == ["--cacert=ca", "--key=k", "--cert=c", "task", "show", "-i", "1"]
    assert hoisted(["task", "--cacert"]) == ["task", "--cacert"]


def test_what_is_given_goes_before_the_environment(obshell, environment):
    environment.setenv(trust.CA, "/environment")
    environment.setenv(trust.CERT, "/cert")
    obshell("--cacert=/given", "task", "show", "-d", "--base-dir", "/nowhere")
    assert Trust.found() == Trust(Path("/given"), Path("/cert"))


@pytest.mark.parametrize(
    ("host", "ca", "spoken"),
    [
        ("10.0.0.1", "", None),
        ("10.0.0.1:2887", "/ca", Trust(Path("/ca"))),
        ("http://10.0.0.1", "/ca", None),
        ("https://10.0.0.1:2887", "", Trust()),
        ("https://[::1]:2887/", "/ca", Trust(Path("/ca"))),
    ],
)
def test_tls_is_spoken_if_it_is_said(environment, host, ca, spoken):
    environment.setenv(trust.CA, ca)
    where = place.locate(None, host, "secret")
    assert where.trust == spoken
    assert isinstance(where.address, Address)
    shown = where.command("x")
    assert ("https://" in shown) is (spoken is not None)
    assert ("--cacert /ca" in shown) is (spoken is not None and bool(ca))


def test_another_scheme_is_none():
    with pytest.raises(CommandError, match="https://IP:PORT"):
        place.locate(None, "ftp://10.0.0.1", "secret")


def test_a_key_without_a_certificate_is_refused(environment):
    environment.setenv(trust.KEY, "/key")
    with pytest.raises(CommandError, match="--cert"):
        Trust.found()


def test_a_file_that_cannot_be_used_is_told(tmp_path):
    os.mknod(tmp_path / "empty")
    for file in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(CommandError, match=str(file)) as refused:
            Trust(file).context()
        assert refused.value.exit_code == Exit.USAGE
