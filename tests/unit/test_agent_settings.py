"""Settings are declared once, wrong ones are refused at the start, and none changes later."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.settings import Settings, architecture


def test_an_agent_needs_its_address_and_a_directory_and_has_defaults_for_the_rest(tmp_path):
    settings = Settings(ip="10.0.0.1", base_dir=tmp_path)
    assert settings.address == Address("10.0.0.1", 2886)
    assert settings.engine is None
    assert settings.log_level == "INFO"
    for missing in ({"ip": "10.0.0.1"}, {"base_dir": tmp_path}):
        with pytest.raises(ValidationError, match="Field required"):
            Settings(**missing)


def test_every_setting_says_what_it_is_for():
    without = [name for name, field in Settings.model_fields.items() if not field.description]
    assert without == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"dag_hold_ms": -1},
        {"dag_hold_ms": 30_001},
        {"start_timeout_s": 0},
        {"stop_timeout_s": -1},
        {"drain_timeout_s": 0},
        {"sync_timeout_s": 0},
        {"freeze_timeout_s": 0},
        {"rpc_timeout_s": 0},
        {"lost_agent_s": 0},
        {"lease_s": 0},
        {"lease_s": 2.9},
        {"lease_renewal_s": 2.6},
        {"log_level": "LOUD"},
        {"port": "agent"},
        {"unheard_of": 1},
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_by_its_name(tmp_path, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Settings(ip="10.0.0.1", base_dir=tmp_path, **wrong)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"ip": "host"}, errors.INVALID_IP),
        ({"port": 80}, errors.INVALID_PORT),
        ({"port": 70_000}, errors.INVALID_PORT),
    ],
)
def test_a_wrong_address_is_refused_with_its_code(tmp_path, wrong, code):
    settings = Settings(**{"ip": "10.0.0.1", "base_dir": tmp_path, **wrong})
    with pytest.raises(errors.OBShellError) as caught:
        _ = settings.address
    assert caught.value.code is code


def test_the_address_is_canonical(tmp_path):
    settings = Settings(ip="2001:DB8:0::1", base_dir=tmp_path)
    assert str(settings.address) == "[2001:db8::1]:2886"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"tls_cert": "/c"}, "belong together"),
        ({"tls_key": "/k"}, "belong together"),
        ({"tls": "required"}, "needs tls_cert"),
        ({"tls_ca": "/ca"}, "needs tls_cert"),
        ({"tls_cert": "/c", "tls_key": "/k", "tls_client_auth": "required"}, "needs tls_ca"),
    ],
)
def test_half_of_tls_is_refused(tmp_path, wrong, why):
    with pytest.raises(ValidationError, match=why):
        Settings(ip="10.0.0.1", base_dir=tmp_path, **wrong)


def test_a_link_to_a_certificate_stays_a_link(tmp_path):
    (tmp_path / "live").symlink_to(tmp_path / "renewed")
    files = {"tls_cert": tmp_path / "live", "tls_key": tmp_path / "live"}
    assert Settings(ip="10.0.0.1", base_dir=tmp_path, **files).tls_cert == tmp_path / "live"


def test_settings_do_not_change(tmp_path):
    settings = Settings(ip="10.0.0.1", base_dir=tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 3000


def test_levels_of_logs_are_read_in_any_case(tmp_path):
    assert Settings(ip="10.0.0.1", base_dir=tmp_path, log_level="debug").log_level == "DEBUG"


def test_the_directory_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Settings(ip="10.0.0.1", base_dir=Path("a/../b")).base_dir == tmp_path / "b"
    assert Settings(ip="10.0.0.1", base_dir=Path("~/b")).base_dir == tmp_path / "home/b"


def test_all_files_of_an_agent_lie_below_its_directory(tmp_path):
    paths = vars(Settings(ip="10.0.0.1", base_dir=tmp_path).paths)
    assert len(paths) > 8
    assert len(set(paths.values())) == len(paths)
    assert all(path.is_relative_to(tmp_path) for path in paths.values())


def test_settings_survive_being_written_down(tmp_path):
    settings = Settings(ip="::1", base_dir=tmp_path, observer=tmp_path / "bin")
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_the_architecture_is_spelled_as_obshell_does():
    assert architecture() in ("x86_64", "aarch64")
