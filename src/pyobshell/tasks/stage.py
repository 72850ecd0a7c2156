"""A stage as an operation's author writes it: a decorated coroutine and what it is given."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, get_type_hints

from pydantic import BaseModel

from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.tasks.model import Ability, Operator

Site = TypeVar("Site")
Params = TypeVar("Params", bound=BaseModel)

DEFAULT_TIMEOUT_S = 3600.0


class Signals(Protocol):
    """The events a stage can wait for; they are recorded with its DAG."""

    async def wait(self, dag_id: int, name: str) -> None:
        """Return once the signal has been given to the DAG, now or before."""


@dataclass(slots=True)
class Run(Generic[Site]):
    """What a running stage holds in its hand.

    ``site`` is what the engine was built with; ``agent`` the agent this sub task is for; ``data``
    what earlier stages published; ``continuing`` whether a killed agent left this run half done,
    ``attempt`` how often it has been begun, this time included, ``ordered_at`` when the DAG was
    recorded, or its RETRY asked for (nanoseconds since the epoch; 0 where only the agent that runs
    the DAG knows). ``cancelled`` tells a body that is being cancelled whether an operator wants it
    so.
    """

    site: Site
    dag_id: int
    generic_id: str
    agent: Address
    data: dict[str, Any]
    deadline: Deadline
    continuing: bool
    log: Callable[[str], None]
    _signals: Signals
    attempt: int = 1
    ordered_at: int = 0
    cancelled: Callable[[], bool] = lambda: False
    published: dict[str, Any] = field(default_factory=dict)

    def publish(self, **data: Any) -> None:
        """Add to the DAG's ``additional_data`` when this sub task succeeds."""
        merge_data(self.published, data)

    def log_from(self, agent: Address) -> Callable[[str], None]:
        """A log for what another agent says."""
        return lambda line: self.log(f"{agent} {line}")

    async def signal(self, name: str) -> None:
        """Wait until somebody gives the DAG the signal ``name``."""
        await self._signals.wait(self.dag_id, name)


def merge_data(known: dict[str, Any], addition: dict[str, Any]) -> None:
    """Merge into ``known``: maps key by key, lists end to end, else the later wins."""
    for name, value in addition.items():
        before = known.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            before.update(value)
        elif isinstance(before, list) and isinstance(value, list):
            before.extend(value)
        else:
            known[name] = value


Body = Callable[[Run[Site], Params], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Stage(Generic[Site, Params]):
    """A kind of stage: the name users see, its body and what may be done with it."""

    key: str
    name: str
    abilities: Ability
    timeout_s: float
    params: type[Params]
    body: Body[Site, Params]
    undo: Body[Site, Params] | None = None
    retry_undoes: bool = True

    def parse(self, params: str) -> Params:
        """The typed parameters of the DAG it belongs to."""
        return self.params.model_validate_json(params)


def stage(
    name: str,
    abilities: Ability = Ability.NONE,
    *,
    key: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    undo: Body[Any, Any] | None = None,
    retry_undoes: bool = True,
) -> Callable[[Body[Site, Params]], Stage[Site, Params]]:
    """Make a stage of a coroutine function ``(run, params)``; ``undo`` is run by ROLLBACK.

    RETRY runs it too, before the body, unless ``retry_undoes`` is False: for a body that goes on
    from whatever it finds.
    ``key`` is what recorded DAGs know it by: module and function unless given.
    """

    def decorate(body: Body[Site, Params]) -> Stage[Site, Params]:
        function = inspect.unwrap(body)
        _, params = inspect.signature(function).parameters
        return Stage(
            key=key or f"{function.__module__.rpartition('.')[2]}.{function.__name__}",
            name=name,
            abilities=abilities,
            timeout_s=timeout_s,
            params=get_type_hints(function)[params],
            body=body,
            undo=undo,
            retry_undoes=retry_undoes,
        )

    return decorate


async def perform(stage: Stage[Any, Any], operator: Operator, params: str, run: Run[Any]) -> None:
    """What an operator asks of a stage: its body, its undoing, or on RETRY one after the other."""
    parsed = stage.parse(params)
    undoes = operator is Operator.ROLLBACK or (operator is Operator.RETRY and stage.retry_undoes)
    if undoes and stage.undo is not None:
        await stage.undo(run, parsed)
    if operator is not Operator.ROLLBACK:
        await stage.body(run, parsed)


class Catalogue(dict[str, Stage[Any, Any]]):
    """Every stage that a recorded DAG may name, by key."""

    def __init__(self, stages: Iterable[Stage[Any, Any]]) -> None:
        super().__init__()
        for one in stages:
            if self.setdefault(one.key, one) is not one:
                raise ValueError(f"two stages have the key {one.key}")
