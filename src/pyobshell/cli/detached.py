"""Run as a program by ``agents.launch``: becomes one daemon for each agent it is told to run."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from typing import Any


def _load() -> Callable[..., int]:
    """The agent's program, loaded once for all of them, without what it never needs."""
    gc.disable()  # of what is loaded nothing ever goes
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # a daemon draws nothing
    kept = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = os.devnull  # agents call each other, and trust no public CA
    try:
        from pyobshell.cli.serve import serve_detached
    finally:
        del os.environ["SSL_CERT_FILE"]
        if kept is not None:
            os.environ["SSL_CERT_FILE"] = kept
    gc.freeze()
    gc.enable()
    return serve_detached


def main() -> None:
    """Read the work from stdin, leave the launcher's side, load the program, fork for each."""
    work: list[dict[str, Any]] = json.load(sys.stdin)
    if os.fork():
        os._exit(0)  # the launcher need not wait, and has no child to look after
    serve_detached = _load()
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
