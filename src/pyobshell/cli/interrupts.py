"""Signals that end a piece of work: it is cancelled, cleans up, and is not disturbed at that."""

from __future__ import annotations

import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Have SIGINT, SIGTERM and SIGHUP cancel the present task, so that it cleans up.

    May be nested; what the signals did before is restored in the end.
    """
    import asyncio  # here and below, as `--help` needs none

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 - we are in a coroutine

    def cancel(*_: object) -> None:
        task.cancel()
        loop.call_soon_threadsafe(lambda: None)  # wakes the loop up

    with _handled(cancel):
        yield


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Have SIGINT break off what blocks the event loop, such as a question to the user."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def undisturbed(cleaning_up: Coroutine[Any, Any, T]) -> T:
    """Clean up, which is bounded in time, to the end: signals and cancellations change nothing."""
    import asyncio

    with _handled(signal.SIG_IGN):
        task = asyncio.create_task(cleaning_up)
        while not task.done():
            # A signal that came just before may cancel us only now.
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
    return task.result()


@contextmanager
def _handled(handler: Any) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _ENDING}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
