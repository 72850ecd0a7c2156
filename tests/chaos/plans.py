"""What can happen in a round: the words of a plan. Plans are drawn in ``drawing``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True)
class Scene:
    """Whom plans are for: the zone of each member, and what kind of servers they have.

    ``clustered``: the servers form a cluster of their own, which is asked over SQL and can spare a
    minority of them; else each is a whole server.
    """

    zones: tuple[str, ...]
    clustered: bool

    @property
    def everybody(self) -> tuple[int, ...]:
        """All members, by number."""
        return tuple(range(len(self.zones)))

    def in_zones(self, zones: Sequence[str]) -> tuple[int, ...]:
        """The members in some zones."""
        return tuple(number for number, zone in enumerate(self.zones) if zone in zones)


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


class Kind(StrEnum):
    """What goes wrong."""

    KILL_AGENTS = "kill -9 of agents"
    PAUSE_AGENTS = "SIGSTOP of agents"
    KILL_SERVER = "kill -9 of a server"
    LOCK_STORE = "an agent's database cannot be written"
    OPERATE = "an operator intervenes"
    DELAY_SQL = "statements take long"
    DROP_SQL = "connections are dropped at statements"
    FAIL_SQL = "statements fail"


class Whom(StrEnum):
    """Which agents are killed, as seen from an operation."""

    COORDINATOR = "its coordinator"
    OTHERS = "others"
    ALL = "all"


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

    def ends_servers(self, scene: Scene) -> bool:
        """Whether it ends the processes of servers."""
        return self.mode is not Mode.START and not self.is_sql_alone(scene)

    def is_sql_alone(self, scene: Scene) -> bool:
        """Whether the servers go on running, out of service."""
        return self.mode is Mode.GENTLE and scene.clustered

    def stages(self, scene: Scene) -> tuple[str, ...]:
        """The stages of its task, in words of one syllable or two."""
        advance = ("advance", "wait")
        freeze = ("freeze",) if self.flushed else ()
        work: tuple[str, ...]
        match self.mode:
            case Mode.GENTLE:
                work = (*advance, "sql")
            case Mode.TERMINATE:
                work = ("freeze", *advance)
            case Mode.FORCE:
                work = advance
            case Mode.ZONE_ROUTE:
                work = ("sql", *freeze, *advance)
            case Mode.START:
                work = advance if self.scope == "SERVER" else (*advance, "zone")
            case Mode.RESTART:
                turn: tuple[str, ...] = ("check", "restart", "check")
                if scene.clustered:
                    turn = ("check", "stop", *freeze, "restart", "start", "sync")
                work = turn * len({scene.zones[number] for number in self.servers})
        return ("inform", "ready", *work, "end")

    def whom(self, victims: Sequence[int], scene: Scene) -> Whom:
        """Who some agents are to it."""
        if len(victims) == len(scene.zones):
            return Whom.ALL
        return Whom.COORDINATOR if self.asked in victims else Whom.OTHERS

    def __str__(self) -> str:
        names = self.zones or [f"s{number}" for number in self.servers]
        targets = "" if self.scope == "GLOBAL" else f" {', '.join(names)}"
        return f"{self.mode} {self.scope}{targets} through a{self.asked}"


AT_REQUEST = 0
AT_FAILURE = -1


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong with members ``delay_s`` after an operation has reached a stage.

    Which operation is said by its number in the plan. Stages are numbered from 1; there are also
    AT_REQUEST and AT_FAILURE. After ``for_s`` it is over: agents are started or go on.
    ``operator`` is sent through the member that is named.
    """

    kind: Kind
    members: tuple[int, ...]
    stage: int
    delay_s: float
    for_s: float = 0.0
    pattern: str = ""
    operator: str = ""
    operation: int = 0

    def __str__(self) -> str:
        what = self.operator.lower() or self.kind.name.lower()
        letter = "ab"[self.operation]
        place = f"{letter} failed" if self.stage == AT_FAILURE else f"{letter}{self.stage}"
        victims = ",".join(map(str, self.members))
        lasts = f" for {self.for_s:.1f} s" if self.for_s else ""
        return f"{what} {victims} at {place}+{self.delay_s:.3f}s{lasts}"


class Resolution(StrEnum):
    """What becomes of an operation that has failed, when nothing goes wrong any more."""

    RETRY = "RETRY"
    CANCELLED_RETRY = "RETRY, CANCEL, RETRY"
    ASK_AGAIN = "ask again"
    PASS = "PASS"
    ROLLBACK = "ROLLBACK"
    NONE = "nothing"


@dataclass(frozen=True)
class Plan:
    """A round: ``members`` are those that the situation is about."""

    number: int
    situation: Situation
    members: tuple[int, ...]
    operations: tuple[Operation, ...]
    faults: tuple[Fault, ...]
    knobs: dict[str, float] = field(default_factory=dict)
    resolution: Resolution = Resolution.NONE

    def __str__(self) -> str:
        about = f" ({', '.join(map(str, self.members))})" if self.members else ""
        operations = " / ".join(map(str, self.operations))
        faults = "; ".join(map(str, self.faults)) or "nothing"
        return (
            f"{self.situation}{about}: {operations}; goes wrong: {faults}; "
            f"if it fails: {self.resolution}"
        )
