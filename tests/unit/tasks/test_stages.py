"""A stage is a coroutine with declared abilities; what stages publish is merged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from pyobshell.tasks.model import Ability
from pyobshell.tasks.stage import Catalogue, Run, merge_data, stage
from support.staging import acts


class Params(BaseModel):
    zone: str


@stage("Stop a zone", Ability.RETRY)
async def stop_zone(run: Run, params: Params) -> None:
    """Do nothing."""


def test_a_stage_is_known_by_its_module_and_function():
    assert stop_zone.key == "test_stages.stop_zone"
    assert stop_zone.name == "Stop a zone"
    assert stop_zone.abilities is Ability.RETRY
    assert stop_zone.timeout_s == 3600
    assert stop_zone.undo is None


def test_a_stage_reads_the_parameters_its_body_declares():
    assert stop_zone.parse('{"zone": "z1"}') == Params(zone="z1")
    with pytest.raises(ValidationError):
        stop_zone.parse("{}")


def test_a_stage_may_nothing_unless_it_is_declared():
    assert stage("One")(stop_zone.body).abilities is Ability.NONE


def test_two_stages_of_one_key_are_a_mistake_and_one_named_twice_is_none():
    one = acts("one")
    assert Catalogue([one, acts("two"), one]).keys() == {"one", "two"}
    with pytest.raises(ValueError, match="one"):
        Catalogue([one, acts("one")])


@pytest.mark.parametrize(
    ("known", "addition", "merged"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1, "b": 2}, {"a": 3}, {"a": 3, "b": 2}),
        ({"a": {"x": 1, "y": 1}}, {"a": {"y": 2, "z": 2}}, {"a": {"x": 1, "y": 2, "z": 2}}),
        ({"a": [1, 2]}, {"a": [2, 3]}, {"a": [1, 2, 2, 3]}),
        ({"a": [1]}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": {"x": 1}}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {"a": [1]}, {"a": [1]}),
        ({"a": {"x": {"deep": 1}}}, {"a": {"x": {"er": 2}}}, {"a": {"x": {"er": 2}}}),
    ],
)
def test_maps_merge_lists_join_and_of_anything_else_the_later_wins(known, addition, merged):
    merge_data(known, addition)
    assert known == merged


values = st.integers() | st.lists(st.integers()) | st.dictionaries(st.text(), st.integers())


@given(st.dictionaries(st.text(), values))
def test_merging_nothing_changes_nothing(known):
    before = {**known}
    merge_data(known, {})
    assert known == before
