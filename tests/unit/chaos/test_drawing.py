"""What a seed draws."""

from __future__ import annotations

from itertools import islice

import pytest

from chaos.coverage import Coverage, stages_of_modes
from chaos.drawing import plans
from chaos.plans import AT_REQUEST, Kind, Mode, Resolution, Scene, Situation, Whom

OBSERVERS = Scene(("zone1", "zone2", "zone3") * 2, clustered=True)
SEEKDBS = Scene(("zone1", "zone2", "zone3", "zone1"), clustered=False)
SCENES = pytest.mark.parametrize("scene", [OBSERVERS, SEEKDBS], ids=["observers", "seekdbs"])


def drawn(scene, seed=1):
    return list(islice(plans(seed, scene), 300))


def kills(plan):
    return [fault for fault in plan.faults if fault.kind is Kind.KILL_AGENTS]


def test_a_seed_draws_the_same_again():
    assert drawn(OBSERVERS) == drawn(OBSERVERS)
    assert drawn(OBSERVERS, seed=2) != drawn(OBSERVERS)


def test_everything_is_drawn_now_and_then():
    found = drawn(OBSERVERS)
    assert {plan.situation for plan in found} == set(Situation)
    assert {plan.resolution for plan in found} == set(Resolution)
    assert {one.mode for plan in found for one in plan.operations} == set(Mode)
    assert {fault.kind for plan in found for fault in plan.faults} == set(Kind)


def test_servers_that_form_no_cluster_are_not_asked_for_what_clusters_do():
    found = drawn(SEEKDBS)
    for plan in found:
        assert plan.knobs == {}
    assert {plan.situation for plan in found} == {
        Situation.WELL,
        Situation.SERVER_KILLED,
        Situation.HOST_KILLED,
        Situation.FORCED,
    }
    assert Mode.ZONE_ROUTE not in {one.mode for plan in found for one in plan.operations}
    assert {fault.kind for plan in found for fault in plan.faults} == {
        Kind.KILL_AGENTS,
        Kind.PAUSE_AGENTS,
        Kind.KILL_SERVER,
        Kind.LOCK_STORE,
        Kind.OPERATE,
    }


@SCENES
def test_nobody_asks_an_agent_that_is_down(scene):
    for plan in drawn(scene):
        if plan.situation is Situation.HOST_KILLED:
            assert not {one.asked for one in plan.operations} & set(plan.members)


@SCENES
def test_every_stage_of_every_mode_is_aimed_at_before_any_has_been_aimed_at_often(scene):
    aims = Coverage(scene)
    for plan in drawn(scene):
        for fault in kills(plan):
            if fault.stage != AT_REQUEST:
                aims.add(plan.operations[fault.operation], fault.stage, fault.members)
    cells = [(*cell, whom) for cell in stages_of_modes(scene) for whom in Whom]
    assert min(aims.count[cell] for cell in cells) >= 1
    assert max(aims.count.values()) <= 8


@SCENES
def test_a_stage_that_is_aimed_at_is_one_of_its_task(scene):
    for plan in drawn(scene):
        for fault in plan.faults:
            assert fault.stage <= len(plan.operations[fault.operation].stages(scene))


def test_the_table_shows_what_was_hit_and_what_was_not():
    coverage = Coverage(SEEKDBS)
    (plan,) = islice(plans(3, SEEKDBS), 1)
    operation = plan.operations[0]
    coverage.add(operation, 1, (operation.asked,))
    lines = coverage.table()
    assert lines[0].startswith("agents killed inside stages: 1 of 84 hit")
    (line,) = [one for one in lines[1:] if "1/0/0" in one]
    assert line.split("inform")[0].strip() == operation.mode
