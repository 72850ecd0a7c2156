"""A home that an agent has lived in, anew for each test."""

from __future__ import annotations

import pytest

from support.homes import a_lived_in_home


@pytest.fixture(scope="module")
async def lived_in(anyio_backend, hosts, keys):
    return await a_lived_in_home(hosts, keys)


@pytest.fixture
def home(lived_in, tmp_path):
    return lived_in.copy(tmp_path / "home")
