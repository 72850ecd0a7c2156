"""No core is made of an agent, in which its secrets would lie; of its server there may be."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# In the process's own environment: the limit for cores with which it was started.
_STARTED_WITH = "_OBSHELL_CORE_LIMIT"
# Less than any core has, and by which the kernel starts no program to receive one either.
_NONE = 1


def give_up() -> None:
    """Have no core made of this process, whatever takes cores on this host.

    Not PR_SET_DUMPABLE, which would hide from the agent's own user which files it has open: by
    them other processes of that user know which process is the agent.
    """
    os.environ[_STARTED_WITH] = str(resource.getrlimit(resource.RLIMIT_CORE)[0])
    _limit(_NONE)


@contextmanager
def as_started() -> Iterator[None]:
    """What is started meanwhile leaves cores as this process would if it had not given them up.

    It does again when these moments are over.
    """
    started_with = os.environ.get(_STARTED_WITH)
    if started_with is None:
        yield
        return
    _limit(int(started_with))
    try:
        yield
    finally:
        _limit(_NONE)


def _limit(soft: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    with suppress(ValueError, OSError):  # a hard limit below it is as good
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
