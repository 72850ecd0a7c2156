"""What happens in a round, drawn from its seed before the round begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import TypeVar

T = TypeVar("T")

ZONES = ("zone1", "zone2", "zone3")
_STAGES = 7


class Situation(StrEnum):
    """How the cluster is when a round begins."""

    WELL = "all is well"
    SERVER_KILLED = "a server was killed, its agent starts it again"
    HOST_KILLED = "a server and its agent were killed"
    FORCED = "servers were stopped with force"
    SERVER_STOPPED = "a server was stopped by SQL"
    ZONE_STOPPED = "a zone was stopped by SQL"
    OUT_OF_SYNC = "replicas are out of sync"


class Mode(StrEnum):
    """What is asked for."""

    GENTLE = "stop"
    TERMINATE = "stop (terminate)"
    FORCE = "stop (force)"
    ZONE_ROUTE = "zone/stop"
    RESTART = "rolling restart"
    START = "start"

    @property
    def kills(self) -> bool:
        """Whether it ends servers."""
        return self not in (Mode.GENTLE, Mode.START)

    @property
    def stops_in_sql(self) -> bool:
        """Whether it takes servers out of service while they run."""
        return self in (Mode.GENTLE, Mode.ZONE_ROUTE, Mode.RESTART)


class Kind(StrEnum):
    """What goes wrong."""

    KILL_AGENTS = "kill -9 of agents"
    PAUSE_AGENTS = "SIGSTOP of agents"
    KILL_SERVER = "kill -9 of a server"
    DELAY_SQL = "statements take long"
    DROP_SQL = "connections are dropped at statements"
    FAIL_SQL = "statements fail"
    CANCEL = "an operator cancels the task"


@dataclass(frozen=True)
class Operation:
    """What a client asks, of which agent; ``after_s``: how long after the round's beginning.

    ``flushed``: with a minor freeze, where that is not said by the mode.
    """

    mode: Mode
    scope: str
    servers: tuple[int, ...]
    zones: tuple[str, ...]
    asked: int
    after_s: float = 0.0
    flushed: bool = False
    force_pass: tuple[str, ...] = ()

    @property
    def spares_majorities(self) -> bool:
        """Whether it is one that must take no majority away."""
        if self.mode is Mode.TERMINATE and self.scope == "GLOBAL":
            return False
        return self.mode not in (Mode.FORCE, Mode.START)

    def __str__(self) -> str:
        names = self.zones or [f"s{number}" for number in self.servers]
        targets = "" if self.scope == "GLOBAL" else f" {', '.join(names)}"
        return f"{self.mode} {self.scope}{targets} through a{self.asked}"


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong with members ``delay_s`` after an operation has reached a stage.

    Which operation is said by its number in the plan. Stage 0 is the moment of the request. After
    ``for_s`` it is over: agents are started or go on.
    """

    kind: Kind
    members: tuple[int, ...]
    stage: int
    delay_s: float
    for_s: float
    pattern: str = ""
    operation: int = 0

    def __str__(self) -> str:
        place = f"{'ab'[self.operation]}{self.stage}"
        victims = ",".join(map(str, self.members))
        return f"{self.kind.name.lower()} {victims} at {place}+{self.delay_s:.2f}s"


@dataclass(frozen=True)
class Plan:
    """A round: ``members`` are those that the situation is about."""

    number: int
    situation: Situation
    members: tuple[int, ...]
    operations: tuple[Operation, ...]
    faults: tuple[Fault, ...]
    knobs: dict[str, float] = field(default_factory=dict)
    resolution: str = ""

    def __str__(self) -> str:
        about = f" ({', '.join(map(str, self.members))})" if self.members else ""
        operations = " / ".join(map(str, self.operations))
        faults = "; ".join(map(str, self.faults)) or "nothing"
        return f"{self.situation}{about}: {operations}; goes wrong: {faults}"


def draw(seed: int, number: int, zones: Sequence[str]) -> Plan:
    """The plan of a round, for a cluster whose members are in these zones."""
    dice = Random(f"{seed}/{number}")
    situation = _one(dice, _SITUATIONS)
    members = _concerned(dice, situation, zones)
    down = members if situation is Situation.HOST_KILLED else ()
    operations = [_operation(dice, zones, down)]
    if dice.random() < 0.25:
        operations.append(_operation(dice, zones, down, dice.choice((0.0, dice.uniform(0, 2)))))
    faults = [_fault(dice, operations, zones) for _ in range(dice.choice((0, 1, 1, 2, 2, 3, 4)))]
    knobs = {}
    if dice.random() < 0.5:
        knobs["freeze_s"] = round(dice.uniform(0.5, 3.0), 1)
    if dice.random() < 0.3:
        knobs["resync_s"] = round(dice.uniform(1.0, 3.0), 1)
    return Plan(
        number,
        situation,
        members,
        tuple(operations),
        tuple(faults),
        knobs,
        dice.choice(("RETRY", "PASS", "ROLLBACK", "", "")),
    )


_SITUATIONS = {
    Situation.WELL: 14,
    Situation.SERVER_KILLED: 2,
    Situation.HOST_KILLED: 2,
    Situation.FORCED: 2,
    Situation.SERVER_STOPPED: 1,
    Situation.ZONE_STOPPED: 1,
    Situation.OUT_OF_SYNC: 2,
}
_MODES = {
    Mode.GENTLE: 5,
    Mode.TERMINATE: 6,
    Mode.FORCE: 3,
    Mode.ZONE_ROUTE: 2,
    Mode.RESTART: 3,
    Mode.START: 3,
}
_KINDS = {
    Kind.KILL_AGENTS: 8,
    Kind.PAUSE_AGENTS: 5,
    Kind.KILL_SERVER: 2,
    Kind.DELAY_SQL: 2,
    Kind.DROP_SQL: 2,
    Kind.FAIL_SQL: 1,
    Kind.CANCEL: 2,
}
_PATTERNS = ("ALTER SYSTEM", "OB_LOG_STAT", "DBA_OB_", "maintainer|ls_info", ".")


def _concerned(dice: Random, situation: Situation, zones: Sequence[str]) -> tuple[int, ...]:
    """The members that a situation is about."""
    if situation is Situation.WELL:
        return ()
    whole_zone = situation is Situation.ZONE_STOPPED or (
        situation in (Situation.FORCED, Situation.OUT_OF_SYNC) and dice.random() < 0.4
    )
    if whole_zone:
        zone = dice.choice(ZONES)
        return tuple(number for number, one in enumerate(zones) if one == zone)
    return (dice.randrange(len(zones)),)


def _operation(
    dice: Random, zones: Sequence[str], down: Sequence[int], after_s: float = 0.0
) -> Operation:
    mode = _one(dice, _MODES)
    scope = _one(dice, {"SERVER": 5, "ZONE": 4, "GLOBAL": 2})
    flushed = dice.random() < 0.5
    asked = dice.choice([one for one in range(len(zones)) if one not in down])
    everybody = tuple(range(len(zones)))
    if scope == "ZONE" or mode is Mode.ZONE_ROUTE:
        many = 1 if mode is Mode.ZONE_ROUTE else _one(dice, {1: 9, 2: 1})
        named = tuple(sorted(dice.sample(ZONES, many)))
        servers = tuple(one for one in everybody if zones[one] in named)
        return Operation(mode, "ZONE", servers, named, asked, after_s, flushed)
    if scope == "GLOBAL":
        return Operation(mode, scope, everybody, (), asked, after_s, flushed)
    first = dice.randrange(len(zones))
    fellows = [one for one in everybody if zones[one] == zones[first]]
    servers = _one(dice, {(first,): 4, tuple(fellows): 2, tuple(dice.sample(everybody, 2)): 1})
    return Operation(mode, scope, tuple(sorted(servers)), (), asked, after_s, flushed)


def _fault(dice: Random, operations: Sequence[Operation], zones: Sequence[str]) -> Fault:
    kind, which = _one(dice, _KINDS), dice.randrange(len(operations))
    operation = operations[which]
    everybody = tuple(range(len(zones)))
    several = tuple(sorted(dice.sample(everybody, dice.randint(2, len(zones) - 1))))
    target = dice.choice(operation.servers)
    bystanders = [one for one in everybody if one not in (*operation.servers, operation.asked)]
    bystander = dice.choice(bystanders or everybody)
    one_of_them = _one(dice, {operation.asked: 4, target: 4}) if bystanders else operation.asked
    alone = dice.choice((one_of_them, one_of_them, bystander))
    if kind in (Kind.KILL_AGENTS, Kind.PAUSE_AGENTS):
        members = _one(dice, {(alone,): 7, several: 2, everybody: 1})
    else:
        members = (dice.choice(everybody),)
    for_s = dice.uniform(0.1, 6.0) if kind is Kind.PAUSE_AGENTS else dice.uniform(0.0, 3.0)
    pattern = dice.choice(_PATTERNS) if kind in (Kind.DROP_SQL, Kind.FAIL_SQL) else ""
    delay_s = dice.choice([0.0, *(dice.uniform(0.0, most) for most in (0.03, 0.3, 1.5))])
    stage = dice.randrange(_STAGES)
    return Fault(kind, members, stage, round(delay_s, 3), round(for_s, 2), pattern, which)


def _one(dice: Random, weights: dict[T, int]) -> T:
    return dice.choices(list(weights), list(weights.values()))[0]
