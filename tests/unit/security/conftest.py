"""Keys that are slow to make, and ciphertexts of another implementation, shared by all tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyobshell.security.keys import PrivateKey


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    text = Path(__file__).with_name("golden.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


@pytest.fixture(scope="session")
def own_key(golden: dict[str, Any]) -> PrivateKey:
    return PrivateKey.from_pem(golden["private_pem"])


@pytest.fixture(scope="session")
def other_key() -> PrivateKey:
    return PrivateKey.generate()
