"""Work that belongs together, such as a commit and its effect in memory, done to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Undivided:
    """Runs coroutines apart from their callers: to their end, unless all of them are abandoned."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()
        self._abandoned = False

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it and return its result; cancelling the caller does not cancel the work."""
        return await _apart(self.begin(work))

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do it without making the caller wait."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        if self._abandoned:
            task.cancel()
        return task

    async def abandon(self) -> None:
        """Cancel whatever is under way or begins later, and wait until it is gone."""
        self._abandoned = True
        for task in self._under_way:
            task.cancel()
        await self.settled()

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)


class OnceForAll:
    """Does once what several want at the same moment, and lets all of them wait for it."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[None]] = {}

    async def do(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do what ``key`` stands for, or wait until whoever was first has done it."""
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(work())
            task.add_done_callback(lambda _: self._under_way.pop(key))
        await _apart(task)


class Shared(Generic[T]):
    """Looks at something once for all who ask before it begins to look.

    So what they see is never older than their question, and however many ask, one look at a time
    is taken.
    """

    def __init__(self, look: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._look = look
        self._next: asyncio.Task[T] | None = None
        self._turn = asyncio.Lock()

    async def see(self) -> T:
        """What a look shows that begins after this was asked; raises what it raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._after_the_last())
        return await _apart(self._next)

    async def _after_the_last(self) -> T:
        async with self._turn:
            self._next = None
            return await self._look()


async def done_unless(work: asyncio.Task[Any], happens: asyncio.Event) -> bool:
    """Whether the work is done before something happens; it goes on if not."""
    waiting = asyncio.create_task(happens.wait())
    try:
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    return work.done()


async def _apart(work: asyncio.Task[T]) -> T:
    """The result of work that goes on when who waits for it is cancelled."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(_look_away)
        raise


def _look_away(task: asyncio.Task[Any]) -> None:
    """Take note of an error that concerned nobody but a caller that has gone."""
    if not task.cancelled():
        task.exception()
