"""What chaos is done to: agents with their servers, of whichever kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from chaos.plans import Scene
from chaos.truth import Journal
from chaos.writer import Writer
from support.running import RunningAgent


class Server(Protocol):
    """A server's process."""

    @property
    def address(self) -> str:
        """What it is called where servers speak of each other."""

    def runs(self) -> bool:
        """Whether it lives."""

    def serves(self) -> bool:
        """Whether it takes statements."""

    def kill(self) -> None:
        """kill -9; returns when it has ended."""


@dataclass(frozen=True)
class Place:
    """An agent, and the server beside it."""

    agent: RunningAgent
    zone: str
    server: Server
    password: str


class Cluster(ABC):
    """Agents that form a cluster, and what its servers can be put through.

    ``journal`` is what the servers tell of themselves, if they form a cluster of their own.
    """

    scene: Scene
    places: Sequence[Place]
    writers: Sequence[Writer]
    journal: Journal | None = None

    @abstractmethod
    def make_tables(self) -> None:
        """Make what the writers write to."""

    @abstractmethod
    def remove_tables(self) -> None:
        """Leave nothing of that behind, if the servers still can."""

    @abstractmethod
    def all_well(self) -> bool:
        """Whether every agent runs, and every server serves."""

    @abstractmethod
    def restore(self) -> None:
        """Have all well, whatever it takes."""

    def sql(self, statement: str) -> tuple[tuple[Any, ...], ...]:
        """Rows from whichever server of a cluster of servers serves."""
        raise NotImplementedError

    def turn(self, **knobs: object) -> None:
        """Have things last as long as said in the cluster of servers, or never come about."""
        assert not knobs

    def hinder(self, number: int, **how: object) -> None:
        """Have something go wrong with statements at a server."""
        raise NotImplementedError

    def unhinder(self, numbers: Iterable[int]) -> None:
        """No more of it."""
        return

    def files(self) -> list[Path]:
        """What tells of what has happened: the agents' logs first of all."""
        return [place.agent.base_dir / "log_obshell/obshell.log" for place in self.places]
