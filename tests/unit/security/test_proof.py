"""A proof shows that one knows a password; what is none costs nothing."""

from __future__ import annotations

import pytest

from pyobshell.security import proof

pytestmark = pytest.mark.anyio


async def test_only_who_knows_the_password_proves_it():
    made = await proof.prove("secret", "a", "b")
    assert await proof.is_proved(made, "secret", "a", "b")
    assert not await proof.is_proved(made, "other", "a", "b")
    assert not await proof.is_proved(made, "secret", "b", "a")


@pytest.mark.parametrize("nonsense", ["", "\ud800", "x" * 128, "0" * 127, "0" * 129, "0" * 10**6])
async def test_what_can_be_none_is_refused_without_the_cost_of_looking(nonsense, monkeypatch):
    monkeypatch.setattr(proof, "_prove", None)
    assert not await proof.is_proved(nonsense, "secret", "a", "b")
