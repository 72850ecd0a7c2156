"""Stages whose keys are known in advance, and that do what a test writes down for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from pyobshell import agent as agent_module
from pyobshell.tasks.model import Ability
from pyobshell.tasks.stage import Catalogue
from support.staging import Act, AnyRun, acts, nothing
from support.waiting import Gate

KEYS = ("s1", "s2", "s3", "s4", "s5")


class Script(dict[str, Act]):
    """What the stages do, by their keys; nothing unless a test says so."""

    async def act(self, key: str, run: AnyRun) -> None:
        await self.get(key, nothing)(run)


SCRIPT = Script()
S1, S2, S3, S4, S5 = (acts(key, partial(SCRIPT.act, key)) for key in KEYS)
ONCE = acts("once", partial(SCRIPT.act, "once"), abilities=Ability.RETRY)


@contextmanager
def known_stages() -> Iterator[None]:
    """Agents that are put together meanwhile know these stages and no others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agent_module, "catalogue", lambda: Catalogue((S1, S2, S3, S4, S5, ONCE)))
        yield


class Seen:
    """A stage that notes where it ran, and stops at a gate if there is one for that agent."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, bool]] = []
        self.gates: dict[str, Gate] = {}

    async def __call__(self, run: Any) -> None:
        where = str(run.site.own)
        self.runs.append((where, run.continuing))
        run.log(f"begun on {where}")
        run.publish(where={where: run.generic_id})
        if where in self.gates:
            await self.gates[where].pass_through()
        run.log(f"ended on {where}")
