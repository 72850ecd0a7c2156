"""Names for local sockets, whose paths may be longer than the name of a socket can be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 107  # bytes: sun_path has 108, one of which ends it (unix(7))


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A name under which a socket can be bound or connected to, while this is entered.

    A longer one goes by a descriptor of its directory: raises OSError if there is no such.
    """
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
