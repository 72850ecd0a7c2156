"""One Ctrl-C ends a command, also while it asks something; cleaning up is not cut off."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pexpect
import pytest

from pyobshell.cli import interrupts


@pytest.fixture
def terminal():
    """Run the command in a terminal."""
    running = []

    def run(*words: str) -> pexpect.spawn:
        command = ["-m", "pyobshell.cli", *words]
        child = pexpect.spawn(sys.executable, command, timeout=30, encoding="utf-8")
        running.append(child)
        return child

    yield run
    for child in running:
        child.close(force=True)


@pytest.mark.parametrize(
    ("words", "question"),
    [
        (("cluster", "stop", "-a", "-f", "--base-dir", "/nowhere"), "Kill ALL servers.*N] "),
        (("cluster", "show", "--host", "127.0.0.1"), "Password of root@sys: "),
        (("cluster", "init", "-n", "x", "--base-dir", "/nowhere"), "Password of root@sys.*: "),
    ],
)
def test_one_ctrl_c_at_a_question_ends_the_command(terminal, words, question):
    child = terminal(*words)
    child.expect(question)
    child.sendintr()
    child.expect("obshell: interrupted")
    child.expect(pexpect.EOF)
    assert child.wait() == 130


def test_cleaning_up_goes_on_whatever_cancels_it_and_whichever_signal_comes():
    done = []

    async def clean_up() -> str:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        asyncio.get_running_loop().call_soon(main.cancel)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        done.append("cleaned up")
        return "all"

    async def work() -> str:
        with interrupts.ending_in_order():
            main.cancel()
            return await interrupts.undisturbed(clean_up())

    async def run() -> str:
        nonlocal main
        main = asyncio.create_task(work())
        return await main

    main: asyncio.Task[str]
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    assert asyncio.run(run()) == "all"
    assert done == ["cleaned up"]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_and_what_it_did_before_is_restored_even_if_nested(number):
    seen = []

    async def work() -> None:
        with interrupts.ending_in_order():
            with interrupts.ending_in_order():
                pass
            try:
                os.kill(os.getpid(), number)
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append(number)

    asyncio.run(work())
    assert seen == [number]
