"""The judge of the chaos suite: what counts as a majority that was taken away."""

from __future__ import annotations

import json

import pytest

from chaos.truth import Journal, Moment, losses


def moment(alive="abc", behind="", stopped="", silent=""):
    stream = {"tenant": "sys", "id": 1, "members": [*"abc"], "behind": [*behind]}
    groups = {"alive": [*alive], "silent": [*silent], "stopped": [*stopped]}
    return {"at": 1.0, **groups, "streams": [stream]}


def lost(*moments):
    return [("".join(loss.servers), loss.killed) for loss in losses(map(Moment.read, moments))]


@pytest.mark.parametrize(
    ("alive", "behind", "gone", "spared", "is_lost"),
    [
        ("bc", "a", "a", "", False),
        ("bc", "ab", "a", "", True),
        ("b", "ac", "a", "", True),
        ("b", "ac", "a", "c", False),
        ("abc", "", "ab", "", True),
        ("c", "abc", "d", "", False),
    ],
)
def test_a_stream_needs_more_than_half_of_its_replicas(alive, behind, gone, spared, is_lost):
    streams = Moment.read(moment(alive, behind)).without_majority(set(gone), set(spared))
    assert [str(stream) for stream in streams] == (["sys LS 1"] if is_lost else [])


def test_who_is_silent_has_not_ended():
    assert lost(moment(), moment("bc", silent="a")) == []
    assert lost(moment(), moment("bc"), moment("bc", stopped="b")) == [("a", True), ("b", False)]


def test_the_journal_is_read_on_from_where_it_was_read_to(tmp_path):
    file = tmp_path / "journal.jsonl"
    lines = [{"at": 0.0, "begins": True}, moment(), moment("bc")]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"half a')
    journal = Journal(file)
    assert "".join(sorted(journal.now().alive)) == "bc"
    assert [one and len(one.alive) for one in journal.news()] == [None, None, 3, 2]
    assert [one and len(one.alive) for one in journal.news()] == [2]
