"""A question that another agent holds until its work is done, asked again when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.peers import LONGEST_SILENCE_S, ignore
from pyobshell.cluster.procedures import Log, Procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations.site import Run, Site

Req = TypeVar("Req", bound=BaseModel)
Res = TypeVar("Res", bound=BaseModel)

_LONGEST_WAIT_S = 3600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0


async def ask_until_done(
    run: Run,
    agent: Address,
    asked: Procedure[Site, Req, Res],
    request: Req,
    log: Log = ignore,
    before_again: Callable[[], None] = lambda: None,
) -> Res:
    """Ask for what may be asked twice, and wait for the answer as long as the stage may last.

    ``before_again`` may change the request before it is asked again. Raises what the procedure
    raises, or ``Agent.RPC.RequestFailed`` once the agent has been out of reach for as long as the
    settings say.
    """
    lost_s = run.site.settings.lost_agent_s
    given_up, pause = None, _FIRST_PAUSE_S

    def told(line: str) -> None:
        nonlocal given_up, pause
        given_up, pause = None, _FIRST_PAUSE_S  # it was within reach again
        log(line)

    while True:
        held = Deadline.after(lost_s + LONGEST_SILENCE_S)
        try:
            patience = run.deadline.within(_LONGEST_WAIT_S)
            return await run.site.peers.call(agent, asked, request, patience, told)
        except OBShellError as error:
            if error.code is not errors.RPC_REQUEST_FAILED:
                raise
            if given_up is None or held.passed():  # a question that was held was within reach
                given_up = Deadline.after(lost_s)
            if given_up.passed():
                raise
            run.log(f"{agent} is out of reach, asking again: {error}")
        before_again()
        await asyncio.sleep(pause)  # back off: the agent may be starting
        pause = min(2 * pause, _LONGEST_PAUSE_S)
