"""What a seed draws."""

from __future__ import annotations

from chaos.plans import Kind, Mode, Situation, draw

ZONES = ["zone1", "zone2", "zone3"] * 2
PLANS = [draw(1, number, ZONES) for number in range(300)]


def test_a_seed_draws_the_same_again():
    assert [draw(1, number, ZONES) for number in range(300)] == PLANS
    assert draw(2, 0, ZONES) != PLANS[0]


def test_everything_is_drawn_now_and_then():
    assert {plan.situation for plan in PLANS} == set(Situation)
    assert {one.mode for plan in PLANS for one in plan.operations} == set(Mode)
    assert {fault.kind for plan in PLANS for fault in plan.faults} == set(Kind)


def test_nobody_asks_an_agent_that_is_down():
    for plan in PLANS:
        if plan.situation is Situation.HOST_KILLED:
            assert not {one.asked for one in plan.operations} & set(plan.members)
