"""When the order to do something together was given, and that no older one wins over a newer.

An agent that was given an order alone, in an emergency, refuses a part of an older task. The clocks
of hosts differ, so it is told the age of that task.
"""

from __future__ import annotations

import time

from pyobshell.deadline import Deadline
from pyobshell.operations.site import Run
from pyobshell.operations.sub_dag import Part, Prepared, prepare
from pyobshell.wire import NANOSECONDS

_MOMENT_S = 1.0


def age_s(run: Run) -> float:
    """How long ago the task was ordered, or ordered anew by RETRY, in seconds.

    If that lies in the future the clock was set back: it is not known then, and taken for long ago.
    """
    age = time.time() - run.ordered_at / NANOSECONDS
    return max(age, 0.0) if age > -_MOMENT_S else time.time()


def has_just_begun(run: Run) -> bool:
    """Whether nobody can have given the task up since it began."""
    return age_s(run) < _MOMENT_S


async def prepared(run: Run, part: Part, patience_s: float) -> Prepared:
    """Have an agent take its lock; raises as ``prepare``, and what ``Peers.call`` raises.

    The age it is told is that of before it was asked. If this agent is paused or cut off just then,
    the other may be given a newer order, and take the task for the newer one when it hears of it.
    So one that was given an order alone, and whose answer took long, is asked again.
    """
    while True:
        asked, patience = time.monotonic(), Deadline.after(patience_s)
        aged = part.model_copy(update={"age_s": age_s(run)})
        made = await run.site.peers.call(
            run.agent, prepare, aged, patience, again=True, if_there=not part.works
        )
        is_prompt = time.monotonic() - asked < _MOMENT_S
        if is_prompt or made.alone_s is None or made.alone_s > age_s(run):
            return made
