"""Run as a program by ``agents.launch``: becomes one daemon for each agent it is told to run."""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import Any


def main() -> None:
    """Read the work from stdin, leave the launcher's side, load the program, fork for each."""
    work: list[dict[str, Any]] = json.load(sys.stdin)
    if os.fork():
        os._exit(0)  # the launcher need not wait, and has no child to look after
    gc.disable()  # of what is loaded nothing ever goes, and looking through it takes a fifth more
    from pyobshell.cli.serve import serve_detached  # loaded once for all of them

    gc.freeze()
    gc.enable()
    for mine in work:
        if os.fork() == 0:
            os.setsid()
            for other in work:
                if other is not mine:
                    os.close(other["report"])
            sys.exit(serve_detached(mine["settings"], mine["report"], mine["take_over"]))
    os._exit(0)


if __name__ == "__main__":
    main()
