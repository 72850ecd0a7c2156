"""Waiting for what should come about: on events, and never without limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from pyobshell.deadline import Deadline

T = TypeVar("T")

PATIENCE_S = 20.0
"""Longer than anything takes on a busy machine, shorter than the limit of a test."""


async def soon(awaited: Awaitable[T]) -> T:
    """What is awaited, which must come within the patience of a test."""
    async with asyncio.timeout(PATIENCE_S):
        return await awaited


def in_time() -> Deadline:
    """The time limit of what is asked for in a test."""
    return Deadline.after(PATIENCE_S)


class Gate:
    """A place where something under test stops until the test lets it go on."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._opened = asyncio.Event()
        self._given_up = asyncio.Event()

    async def pass_through(self) -> None:
        """Called by what is stopped."""
        self._reached.set()
        try:
            await self._opened.wait()
        except asyncio.CancelledError:
            self._given_up.set()
            raise

    async def reached(self) -> None:
        """Return once something stands at the gate."""
        await soon(self._reached.wait())

    async def given_up(self) -> None:
        """Return once something that stood at the gate was cancelled."""
        await soon(self._given_up.wait())

    def open(self) -> None:
        """Let go what stands here, and all that comes later."""
        self._opened.set()
