"""What the doctor finds in a home."""

from __future__ import annotations

from pyobshell.home.examination import Orders, examine
from pyobshell.home.findings import Level

# Only engines that there are can tell whether their server runs.
FAKE = "server"


async def found(home, orders=Orders(), running=None):  # noqa: B008 (frozen)
    """The findings that are not well, but for that of the server, which is none."""
    findings = await examine(home.settings.base_dir, running, orders)
    return {
        one.check: one
        for one in findings
        if (one.level is not Level.OK or one.repaired) and one.check != FAKE
    }
