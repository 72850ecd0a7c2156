from __future__ import annotations

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyobshell.security.vault import Vault

KEY = bytes(range(32))
any_text = st.text(st.characters())  # lone surrogates too


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secrets" / "vault.key"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@given(text=any_text)
def test_any_text_comes_back(text: str) -> None:
    assert Vault(KEY).open_text(Vault(KEY).seal(text)) == text


def test_the_same_text_is_never_sealed_alike() -> None:
    vault = Vault(KEY)
    assert vault.seal("same") != vault.seal("same")


def test_the_key_is_made_once_for_its_owner_only(path: Path) -> None:
    sealed = Vault.open(path).seal("secret")
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert list(path.parent.iterdir()) == [path]
    assert Vault.open(path).open_text(sealed) == "secret"


def test_agents_that_start_at_once_get_the_same_key(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        vaults = list(pool.map(Vault.open, [path] * 8))
    sealed = vaults[0].seal("secret")
    assert {vault.open_text(sealed) for vault in vaults} == {"secret"}
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_while_the_key_is_made_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        Vault.open(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o610])
def test_a_key_others_may_use_is_refused_with_a_clear_text(path: Path, bits: int) -> None:
    Vault.open(path)
    path.chmod(bits)
    with pytest.raises(PermissionError, match=rf"vault\.key .* \(mode {bits:04o}\).*chmod 600"):
        Vault.open(path)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_file_that_is_no_key_is_refused_and_kept(path: Path, size: int) -> None:
    path.parent.mkdir()
    path.touch(0o600)
    path.write_bytes(b"x" * size)
    with pytest.raises(ValueError, match="not a vault key"):
        Vault.open(path)
    assert path.stat().st_size == size


def test_an_existing_directory_keeps_its_mode(path: Path) -> None:
    path.parent.mkdir(0o755)
    Vault.open(path)
    assert mode(path.parent) == 0o755


@given(text=st.text(max_size=30), data=st.data())
def test_an_altered_secret_never_opens(text: str, data: st.DataObject) -> None:
    raw = bytearray(base64.b64decode(Vault(KEY).seal(text)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="cannot be opened"):
        Vault(KEY).open_text(base64.b64encode(raw).decode())


@pytest.mark.parametrize("sealed", ["", "AAAA", "A" * 36, "A" * 40, "not base64!", "é"])
def test_what_is_no_secret_never_opens(sealed: str) -> None:
    with pytest.raises(ValueError, match="cannot be opened"):
        Vault(KEY).open_text(sealed)


def test_another_vault_cannot_open_a_secret() -> None:
    with pytest.raises(ValueError, match="cannot be opened"):
        Vault(bytes(32)).open_text(Vault(KEY).seal("secret"))


def test_a_vault_does_not_show_its_key() -> None:
    assert str(KEY) not in repr(Vault(KEY)) + str(vars(Vault(KEY)))


def test_a_golden_secret_opens(golden: dict[str, Any]) -> None:
    """What an older version stored must stay readable."""
    stored = golden["vault"]
    assert Vault(bytes.fromhex(stored["key"])).open_text(stored["sealed"]) == stored["text"]
