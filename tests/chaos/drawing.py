"""Plans, drawn from a seed before their rounds begin.

Agents are aimed at where they have been aimed at least in the rounds before, so that every stage of
every mode has its turn.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from random import Random
from typing import TypeVar

from chaos.coverage import Coverage
from chaos.plans import (
    AT_FAILURE,
    AT_REQUEST,
    Fault,
    Kind,
    Mode,
    Operation,
    Plan,
    Resolution,
    Scene,
    Situation,
    Whom,
)

T = TypeVar("T")

# Servers that form no cluster have nothing of these.
_OF_CLUSTERS = frozenset(
    {
        Situation.SERVER_STOPPED,
        Situation.ZONE_STOPPED,
        Situation.OUT_OF_SYNC,
        Mode.ZONE_ROUTE,
        Kind.DELAY_SQL,
        Kind.DROP_SQL,
        Kind.FAIL_SQL,
    }
)
_SITUATIONS = {
    Situation.WELL: 17,
    Situation.SERVER_KILLED: 2,
    Situation.HOST_KILLED: 2,
    Situation.FORCED: 2,
    Situation.SERVER_STOPPED: 1,
    Situation.ZONE_STOPPED: 1,
    Situation.OUT_OF_SYNC: 1,
}
_MODES = {
    Mode.GENTLE: 5,
    Mode.TERMINATE: 6,
    Mode.FORCE: 4,
    Mode.ZONE_ROUTE: 3,
    Mode.RESTART: 3,
    Mode.START: 4,
}
_KINDS = {
    Kind.KILL_AGENTS: 14,
    Kind.PAUSE_AGENTS: 4,
    Kind.KILL_SERVER: 2,
    Kind.LOCK_STORE: 3,
    Kind.OPERATE: 4,
    Kind.DELAY_SQL: 2,
    Kind.DROP_SQL: 2,
    Kind.FAIL_SQL: 1,
}
_SHORT = ("inform", "ready", "advance", "end", "check")
_WITH_WORK = 0.7  # of starts, how many find servers that are down
_RESOLUTIONS = {
    Resolution.RETRY: 5,
    Resolution.CANCELLED_RETRY: 2,
    Resolution.ASK_AGAIN: 2,
    Resolution.PASS: 1,
    Resolution.ROLLBACK: 1,
    Resolution.NONE: 1,
}
_PATTERNS = ("ALTER SYSTEM", "OB_LOG_STAT", "DBA_OB_", "maintainer|ls_info", ".")
# How long it lasts, from and to in seconds, and how often. The longest are beyond what is waited
# for: the silence of who is asked (15 s), an agent that is away (30 s), a database that is locked
# (30 s).
_LASTS: dict[Kind, dict[tuple[float, float], int]] = {
    Kind.KILL_AGENTS: {(0.0, 3.0): 60, (31.0, 36.0): 1},
    Kind.PAUSE_AGENTS: {(0.1, 6.0): 12, (16.0, 22.0): 1},
    Kind.LOCK_STORE: {(0.2, 6.0): 12, (31.0, 34.0): 1},
}
_LASTS_ELSE = {(0.1, 3.0): 1}


def plans(seed: int, scene: Scene) -> Iterator[Plan]:
    """The plans of all rounds of a seed, from round 1 on; the same for the same scene."""
    aims = Coverage(scene)
    for number in itertools.count(1):
        yield _Drawing(Random(f"{seed}/{number}"), scene, aims).plan(number)


class _Drawing:
    """One plan in the making."""

    def __init__(self, dice: Random, scene: Scene, aims: Coverage) -> None:
        self._dice = dice
        self._scene = scene
        self._aims = aims

    def plan(self, number: int) -> Plan:
        dice = self._dice
        situation = self._one(_SITUATIONS)
        members = self._concerned(situation)
        down = members if situation is Situation.HOST_KILLED else ()
        operations = [self._needed_operation(down)]
        if operations[0].mode is Mode.START and dice.random() < _WITH_WORK:
            situation, members = Situation.FORCED, operations[0].servers
        if dice.random() < 0.3:
            operations.append(self._operation(down, dice.choice((0.0, dice.uniform(0, 2)))))
        many = dice.choice((0, 1, 1, 1, 2, 2, 2, 3, 3, 4))
        faults = [self._fault(operations, first=not n) for n in range(many)]
        knobs = {}
        if self._scene.clustered and dice.random() < 0.5:
            knobs["freeze_s"] = round(dice.uniform(0.5, 3.0), 1)
        if self._scene.clustered and dice.random() < 0.3:
            knobs["resync_s"] = round(dice.uniform(1.0, 3.0), 1)
        resolution = self._one(_RESOLUTIONS)
        return Plan(number, situation, members, tuple(operations), tuple(faults), knobs, resolution)

    def _concerned(self, situation: Situation) -> tuple[int, ...]:
        """The members that a situation is about."""
        if situation is Situation.WELL:
            return ()
        whole_zone = situation is Situation.ZONE_STOPPED or (
            situation in (Situation.FORCED, Situation.OUT_OF_SYNC) and self._dice.random() < 0.4
        )
        if whole_zone:
            return self._scene.in_zones([self._dice.choice(self._scene.zones)])
        return (self._dice.choice(self._scene.everybody),)

    # --- operations ------------------------------------------------------------------------------

    def _needed_operation(self, down: Sequence[int]) -> Operation:
        """Of three, the one whose stages have been aimed at least."""
        return min((self._operation(down) for _ in range(3)), key=self._aims.share_of)

    def _operation(self, down: Sequence[int], after_s: float = 0.0) -> Operation:
        dice, scene = self._dice, self._scene
        mode = self._one(_MODES)
        scope = self._one({"SERVER": 5, "ZONE": 4, "GLOBAL": 2})
        if mode is Mode.GENTLE and scope == "GLOBAL" and dice.random() < 0.8:
            scope = "ZONE"  # the other is always refused
        flushed = dice.random() < 0.5
        asked = dice.choice([one for one in scene.everybody if one not in down])
        if scope == "ZONE" or mode is Mode.ZONE_ROUTE:
            many = 1 if mode is Mode.ZONE_ROUTE else self._one({1: 9, 2: 1})
            named = tuple(sorted(dice.sample(sorted(set(scene.zones)), many)))
            servers = scene.in_zones(named)
            return Operation(mode, "ZONE", servers, named, asked, after_s, flushed)
        if scope == "GLOBAL":
            return Operation(mode, scope, scene.everybody, (), asked, after_s, flushed)
        first = dice.choice(scene.everybody)
        fellows = scene.in_zones([scene.zones[first]])
        any_two = tuple(sorted(dice.sample(scene.everybody, 2)))
        servers = dice.choices(((first,), fellows, any_two), (4, 2, 1))[0]
        return Operation(mode, scope, servers, (), asked, after_s, flushed)

    # --- faults ----------------------------------------------------------------------------------

    def _fault(self, operations: Sequence[Operation], *, first: bool) -> Fault:
        dice = self._dice
        kind = Kind.KILL_AGENTS if first and dice.random() < 0.7 else self._one(_KINDS)
        which = 0 if first else dice.randrange(len(operations))
        operation = operations[which]
        if kind is Kind.OPERATE:
            return self._intervention(operation, which)
        if kind is Kind.KILL_AGENTS:
            stage, members = self._aimed(operation)
        else:
            stage = dice.randint(AT_REQUEST, len(operation.stages(self._scene)))
            members = (dice.choice(self._scene.everybody),)
        if kind is Kind.PAUSE_AGENTS:
            members = self._victims(operation, self._one(dict.fromkeys(Whom, 3)))
        least, most = self._one(_LASTS.get(kind, _LASTS_ELSE))
        for_s = 0.0 if kind is Kind.KILL_SERVER else round(dice.uniform(least, most), 2)
        delay_s = self._delay(operation, stage) if kind is Kind.KILL_AGENTS else self._delay()
        pattern = dice.choice(_PATTERNS) if kind in (Kind.DROP_SQL, Kind.FAIL_SQL) else ""
        return Fault(kind, members, stage, delay_s, for_s, pattern, operation=which)

    def _aimed(self, operation: Operation) -> tuple[int, tuple[int, ...]]:
        """A stage, and whose agents to kill in it: now and then at the request, before any."""
        if self._dice.random() < 0.05:
            return AT_REQUEST, self._victims(operation, self._one(dict.fromkeys(Whom, 1)))
        stages = range(1, len(operation.stages(self._scene)) + 1)
        ways = [(stage, whom) for stage in stages for whom in Whom]
        least = min(self._aims.of(operation, *way) for way in ways)
        stage, whom = self._dice.choice([w for w in ways if self._aims.of(operation, *w) == least])
        members = self._victims(operation, whom)
        self._aims.add(operation, stage, members)
        return stage, members

    def _victims(self, operation: Operation, whom: Whom) -> tuple[int, ...]:
        dice, everybody = self._dice, self._scene.everybody
        others = [one for one in everybody if one != operation.asked]
        if whom is Whom.ALL:
            return everybody
        if whom is Whom.COORDINATOR:
            several = [operation.asked, *dice.sample(others, dice.randint(1, len(others) - 1))]
            return self._one({(operation.asked,): 3, tuple(sorted(several)): 1})
        several = dice.sample(others, dice.randint(2, len(others)))
        target = dice.choice([one for one in operation.servers if one in others] or others)
        return self._one({(target,): 2, (dice.choice(others),): 1, tuple(sorted(several)): 1})

    def _intervention(self, operation: Operation, which: int) -> Fault:
        dice = self._dice
        operator = self._one({"CANCEL": 3, "RETRY": 3, "PASS": 1})
        stage = dice.randint(1, len(operation.stages(self._scene)))
        if operator != "CANCEL" and dice.random() < 0.8:
            stage = AT_FAILURE
        via = (dice.choice(self._scene.everybody),)
        return Fault(Kind.OPERATE, via, stage, self._delay(), operator=operator, operation=which)

    def _delay(self, operation: Operation | None = None, stage: int = AT_REQUEST) -> float:
        """At once, or somewhere inside a stage: most last for milliseconds, some for seconds."""
        ways = {0.0: 3, 0.005: 2, 0.03: 1, 0.3: 1, 1.5: 1}
        if operation and stage and self._is_short(operation, stage):
            ways = {0.0: 3, 0.003: 2, 0.02: 1}
        return round(self._dice.uniform(0.0, self._one(ways)), 3)

    def _is_short(self, operation: Operation, stage: int) -> bool:
        """Whether a stage lasts for milliseconds, unless something goes wrong."""
        name = operation.stages(self._scene)[stage - 1]
        works_long = operation.mode in (Mode.START, Mode.RESTART) or (
            operation.mode is Mode.GENTLE and not self._scene.clustered
        )
        return name in _SHORT or (name in ("wait", "sql", "zone") and not works_long)

    def _one(self, weights: dict[T, int]) -> T:
        clustered = self._scene.clustered
        ways = [one for one in weights if clustered or one not in _OF_CLUSTERS]
        return self._dice.choices(ways, [weights[one] for one in ways])[0]
