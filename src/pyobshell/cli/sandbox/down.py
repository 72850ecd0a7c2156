"""Removes a sandbox: every process of it and everything that was made for it, and nothing else."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from pyobshell.cli.sandbox.processes import end_all
from pyobshell.cli.sandbox.record import Sandbox
from pyobshell.deadline import Deadline

_ENDING_S = 30.0


async def remove(sandbox: Sandbox) -> list[Path]:
    """End and remove it; returns directories that hold something else and so have to stay.

    The record goes last: what is cut off half-way can be removed again.
    """
    await end_all(sandbox, Deadline.after(_ENDING_S))
    for node in sandbox.nodes:
        if node.base_dir.exists():
            await asyncio.to_thread(shutil.rmtree, node.base_dir)
    return sandbox.forget()
