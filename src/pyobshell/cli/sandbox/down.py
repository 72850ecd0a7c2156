"""Removes a sandbox: every process of it and everything that was made for it, and nothing else."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from pyobshell.cli.sandbox.processes import end_all, until_let_go
from pyobshell.cli.sandbox.record import Sandbox
from pyobshell.deadline import Deadline

_ENDING_S = 30.0


async def remove(sandbox: Sandbox) -> list[Path]:
    """End and remove it; returns directories that hold something else and so have to stay.

    The record goes last: what is cut off half-way can be removed again.
    """
    deadline = Deadline.after(_ENDING_S)
    await end_all(sandbox, deadline)
    # Servers may share something that ends by itself when the last of them has.
    homes = {node.base_dir for node in sandbox.nodes}
    await until_let_go([path for path in sandbox.own if path not in homes], deadline)
    for path in sandbox.own:
        await asyncio.to_thread(_remove, path)
    return sandbox.forget()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
