"""Examines an agent's home, whether an agent runs on it or not, and repairs what is safe to repair.

Safe is: modes, files left by an agent that has gone, a database that is replaced from what was kept
of it. What cannot be known, such as the content of a damaged settings.json, is not guessed.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from pyobshell.cluster.state import SECRETS
from pyobshell.errors import OBShellError
from pyobshell.home import files, processes, repair, stored
from pyobshell.home.findings import Finding, problem, repaired, warning
from pyobshell.home.kept import Essentials
from pyobshell.home.opening import BaseDirInUseError, KeyFileError, holding, open_vault, owner
from pyobshell.home.processes import Running
from pyobshell.home.salvage import best_essentials
from pyobshell.home.stored import Stored
from pyobshell.settings import Paths, Settings


@dataclass(frozen=True)
class Orders:
    """What may be done about what is found."""

    repair: bool = False
    forget_passwords: bool = False


async def examine(base_dir: Path, running: Running | None, orders: Orders) -> list[Finding]:
    """Look at everything; with ``orders.repair`` repair what can be, and tell it."""
    paths = Paths(base_dir)
    if orders.repair and files.is_of_another(paths):
        said = f"{paths.state_dir} belongs to {owner(paths.state_dir)}"
        return [problem("directories", said, "repair it as that user; nothing was done")]
    with contextlib.ExitStack() as stack:
        if running is None and paths.state_dir.is_dir() and orders.repair:
            try:
                stack.enter_context(holding(paths.lock))
            except BaseDirInUseError:
                said = f"{paths.lock} is held by a process that is not seen from here"
                look = "look who: lslocks; nothing was repaired"
                return [problem("agent", said, look)]
            except OSError as error:
                said = f"{paths.lock}: {(error.strerror or '').lower()}"
                return [
                    problem("agent", said, "nothing was repaired; see what is found without it"),
                    *[one async for one in _look(paths, running, Orders())],
                ]
        return [one async for one in _look(paths, running, orders)]


async def _look(paths: Paths, running: Running | None, orders: Orders) -> AsyncIterator[Finding]:
    for finding in files.look_at_directories(paths, repair=orders.repair):
        yield finding
    if not paths.state_dir.is_dir():
        return
    for finding in (*files.look_at_space(paths), *files.look_at_logs(paths)):
        yield finding
    own, finding = files.look_at_settings(paths)
    yield finding
    if own is not None and own.speaks_tls:
        yield files.look_at_tls(own)
    for finding in processes.look_at_agent(paths, running, repair=orders.repair):
        yield finding
    runs = running is not None
    found, findings = stored.read(paths, own, all_of_it=orders.repair, runs=runs)
    copy, of_copy = stored.look_at_copy(paths, found)
    if found.damaged is not None and orders.repair:
        found, findings = await _replace(paths, own, running, found, copy, findings)
    elif found.damaged is not None and copy is None:
        findings = [_hopeless(paths, found)]
    for finding in [*findings, *([of_copy] if of_copy else [])]:
        yield finding
    if found.is_read:
        async for finding in _look_at_what_is_stored(paths, own, running, orders, found):
            yield finding


async def _look_at_what_is_stored(
    paths: Paths, own: Settings | None, running: Running | None, orders: Orders, found: Stored
) -> AsyncIterator[Finding]:
    if orders.forget_passwords and running is None:
        forgotten = _forget(paths, found)
        if forgotten is not None:
            yield forgotten
    yield stored.look_at_secrets(paths, found.settings)
    yield files.look_at_private_key(paths, is_member=found.is_member)
    if own is not None:
        yield stored.look_at_membership(found, own)
        yield await processes.look_at_server(own, found.ordered, running)
    tasks = found.tasks if running is None or running.tasks is None else running.tasks
    for finding in processes.look_at_tasks(tasks, running, paths.base_dir):
        yield finding
    yield stored.look_at_clock(found)


async def _replace(
    paths: Paths,
    own: Settings | None,
    running: Running | None,
    found: Stored,
    copy: Essentials | None,
    findings: list[Finding],
) -> tuple[Stored, list[Finding]]:
    """Replace a broken database, if that can be done; returns how all is then."""
    if running is not None:
        stop = (
            "nothing was replaced: stop the agent first, "
            f"obshell agent stop --base-dir {shlex.quote(str(paths.base_dir))}"
        )
        return found, [problem("database", one.message, stop) for one in findings]
    essentials = best_essentials(paths, copy)
    if essentials is None:
        return found, [_hopeless(paths, found)]
    try:
        runs = own is not None and await processes.server_pid(own) is not None
    except OBShellError:
        runs = False
    try:
        replaced = repair.replace_database(paths, essentials, server_wanted=runs)
    except (OBShellError, OSError) as error:
        return found, [problem("database", str(error), "nothing was replaced; mend that first")]
    lost = "" if replaced.has_whole_audit else ", and its record of who did what has a gap"
    said = (
        f"{findings[0].message}: a new one is made of what was kept, the broken one is in "
        f"{replaced.directory}. Its tasks are lost (none is taken up again, other agents let go of "
        f"theirs){lost}"
    )
    after, findings = stored.read(paths, own, all_of_it=True, runs=False)
    told = [repaired("database", said), *findings]
    if after.ordered.deployed and not runs:
        remedy = "if it shall run, start it when the agent runs: obshell cluster start"
        told.append(warning("server", "it does not run, and is left so", remedy))
    return after, told


def _hopeless(paths: Paths, found: Stored) -> Finding:
    said = f"{paths.database}: {found.damaged.arguments['cause'] if found.damaged else ''}"
    remedy = (
        f"no copy of its essentials is whole: restore {paths.state_dir} from a backup. Without one "
        "an agent of observers is made anew: move that away, start it with OB_ROOT_PASSWORD set. "
        "That of another server is not, but the server and its data are untouched, and are used "
        "without it: start the server's own program"
    )
    return problem("database", said, remedy)


def _forget(paths: Paths, found: Stored) -> Finding | None:
    """Forget the passwords if they cannot be opened."""
    sealed = [found.settings[name] for name in SECRETS if name in found.settings]
    try:
        open_vault(paths, sealed)
    except KeyFileError as error:
        if error.forbidden:
            return None
        try:
            aside = repair.forget_passwords(paths)
        except (OBShellError, OSError) as failed:
            return problem("secrets", str(failed), "nothing was forgotten; mend that first")
        for name in SECRETS:
            found.settings.pop(name, None)
        said = (
            f"{error}: they are forgotten, a copy of all as it was is in {aside}. The agent learns "
            "that of root from the others, or when somebody gives it"
        )
        return repaired("secrets", said)
    return None
