"""What the stand-in's journal tells: which servers a cluster lost, and which majorities were left.

This judges the product's care for majorities, so it shares no code with it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Stream:
    """A log stream: the servers that have a replica of it, and those whose replica is behind."""

    tenant: str
    id: int
    members: frozenset[str]
    behind: frozenset[str]

    def __str__(self) -> str:
        return f"{self.tenant} LS {self.id}"

    def has_majority(self, able: Collection[str]) -> bool:
        """Whether more than half of its members are among those able."""
        return 2 * len(self.members.intersection(able)) > len(self.members)


@dataclass(frozen=True)
class Moment:
    """The cluster from ``at`` (seconds since 1970) on; servers are ``ip:rpc_port``."""

    at: float
    alive: frozenset[str]
    silent: frozenset[str]
    stopped: frozenset[str]
    streams: tuple[Stream, ...]

    @classmethod
    def read(cls, line: dict[str, Any]) -> Self:
        """One line of the journal."""
        streams = (
            Stream(one["tenant"], one["id"], frozenset(one["members"]), frozenset(one["behind"]))
            for one in line["streams"]
        )
        alive, silent, stopped = (frozenset(line[key]) for key in ("alive", "silent", "stopped"))
        return cls(line["at"], alive, silent, stopped, tuple(streams))

    def without_majority(self, gone: Collection[str], spared: Collection[str] = ()) -> list[Stream]:
        """The streams on servers gone whose other replicas, alive and in step, are too few.

        Those ``spared`` count as if nothing had happened to them.
        """
        return [
            stream
            for stream in self.streams
            if stream.members.intersection(gone)
            and not stream.has_majority((self.alive - stream.behind).union(spared).difference(gone))
        ]


@dataclass(frozen=True)
class Loss:
    """Servers that ended (``killed``), or were taken out of service while they ran."""

    servers: frozenset[str]
    killed: bool
    after: Moment


def losses(moments: Iterable[Moment | None]) -> Iterator[Loss]:
    """What was lost from each moment to the next; None: a hub began, and what was before is over.

    Who was only silent has not ended.
    """
    before: Moment | None = None
    for now in moments:
        if before is not None and now is not None:
            if ended := before.alive - now.alive - now.silent:
                yield Loss(ended, True, now)
            if stopped := now.stopped - before.stopped:
                yield Loss(stopped, False, now)
        before = now


@dataclass
class Journal:
    """The journal of a cluster, read on from where it was read to."""

    file: Path
    offset: int = 0
    last: Moment | None = None

    def news(self) -> list[Moment | None]:
        """The last moment that was known, and all since."""
        moments = [self.last]
        with self.file.open("rb") as file:
            file.seek(self.offset)
            for text in file:
                if not text.endswith(b"\n"):
                    break
                self.offset += len(text)
                line = json.loads(text)
                moments.append(None if "begins" in line else Moment.read(line))
        self.last = moments[-1]
        return moments

    def now(self) -> Moment:
        """The cluster as it is; what was read on the way is read again by ``news``.

        When a hub has only begun nobody is known to be alive.
        """
        begun = Journal(self.file, self.offset, self.last)
        return begun.news()[-1] or Moment(0.0, *[frozenset[str]()] * 3, ())
