"""The succession of keys: what proves it, and what does not."""

from __future__ import annotations

import itertools
import json

import pytest

from pyobshell.security.keyring import (
    MOST_KEPT,
    Keyring,
    Succession,
    has_succeeded,
    life_of,
    read_successions,
    write_successions,
)
from pyobshell.security.keys import PrivateKey


@pytest.fixture
def made(own_key, other_key, monkeypatch):
    """Two keyrings, the second with a key that succeeded that of the first."""
    first = Keyring(own_key)
    monkeypatch.setattr(PrivateKey, "generate", lambda bits: other_key)
    return first, first.successor(2048)


def test_a_key_leads_to_its_successor_and_to_nothing_else(made):
    first, second = made
    old, new = first.public_text, second.public_text
    assert old != new
    assert has_succeeded(old, new, second.successions)
    assert has_succeeded(new, new, second.successions)
    assert has_succeeded(new, new, ())
    assert not has_succeeded(old, new, ())
    assert not has_succeeded(new, old, second.successions)
    assert not has_succeeded("another", new, second.successions)


def test_a_succession_is_signed_with_the_old_key(made):
    first, second = made
    (genuine,) = second.successions
    with_the_new_key = Keyring(second.key).successor(2048).successions[0].signature
    for signature in (with_the_new_key, genuine.signature[::-1], "!", ""):
        forged = genuine.model_copy(update={"signature": signature})
        assert not has_succeeded(first.public_text, second.public_text, [forged])
    for name in ("old", "new"):
        assert not genuine.model_copy(update={name: "garbage"}).is_genuine


def test_a_short_key_succeeds_nobody(own_key, monkeypatch):
    short = PrivateKey.generate(1024)
    monkeypatch.setattr(PrivateKey, "generate", lambda bits: short)
    successor = Keyring(own_key).successor(1024)
    assert not has_succeeded(own_key.public_text, short.public_text, successor.successions)


def test_it_is_written_and_read_as_it_is(made):
    first, second = made
    assert first.to_text() == first.key.to_pem()
    for ring in made:
        again = Keyring.from_text(ring.to_text())
        assert (again.public_text, again.life) == (ring.public_text, ring.life)
        assert again.successions == ring.successions
    assert second.life == first.life == life_of(first.public_text)
    assert read_successions(write_successions(second.successions)) == second.successions


@pytest.mark.parametrize(
    "rest", ["{", "[]", '{"life": "x"}', '{"life": "x", "successions": []}', "x"]
)
def test_what_is_damaged_behind_the_key_is_noticed(own_key, rest):
    with pytest.raises(ValueError, match="what follows the key"):
        Keyring.from_text(own_key.to_pem() + rest)


def test_the_successions_of_another_key_are_noticed(made):
    first, second = made
    rest = second.to_text().removeprefix(second.key.to_pem())
    with pytest.raises(ValueError, match="of another key"):
        Keyring.from_text(first.key.to_pem() + rest)


@pytest.mark.parametrize("text", [None, 5, "", "{}", "[1]", "x" * 20_000, "[" * 9000])
def test_what_is_no_succession_counts_as_none(text):
    assert read_successions(text) == ()


def test_of_many_changes_the_last_are_known_and_the_life_is_the_first_keys(
    made, own_key, other_key, monkeypatch
):
    ring, first = made[0], made[0].public_text
    coming = itertools.cycle([other_key, own_key])
    monkeypatch.setattr(PrivateKey, "generate", lambda bits: next(coming))
    for _ in range(MOST_KEPT + 2):
        ring = ring.successor(2048)
    assert len(ring.successions) == MOST_KEPT
    assert ring.life == life_of(first)
    assert len(write_successions(ring.successions)) < 8 * 1024


def test_neither_side_shows_a_private_key(made):
    first, second = made
    shown = repr(second) + json.dumps([one.model_dump() for one in second.successions])
    assert "PRIVATE" not in shown
    assert first.key.to_pem().splitlines()[1] not in second.to_text()
    assert Succession.model_fields.keys() == {"old", "new", "signature"}
