"""Who is spoken to by a server knows that it lives; a kernel that accepts says nothing."""

from __future__ import annotations

import asyncio

import pytest

from pyobshell.deadline import Deadline
from pyobshell.engines.greeting import greets
from support.agents import free_address
from support.waiting import PATIENCE_S

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("said", "greeted"), [(b"J\x00\x00\x00\n8.0", True), (b"J", False)])
async def test_a_server_that_speaks(said, greeted):
    def speak(_, writer):
        writer.write(said)
        writer.close()

    place = free_address()
    async with await asyncio.start_server(speak, *place):
        assert await greets(place, Deadline.after(PATIENCE_S)) is greeted


async def test_a_server_that_is_silent_or_gone():
    silent = asyncio.Event()

    async def say_nothing(_, writer):
        await silent.wait()
        writer.close()

    place = free_address()
    async with await asyncio.start_server(say_nothing, *place):
        assert not await greets(place, Deadline.after(0.1))
        silent.set()
    assert not await greets(place, Deadline.after(PATIENCE_S))
