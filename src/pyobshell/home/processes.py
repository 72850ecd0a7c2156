"""Looks at the agent's process and the server's, and at the files that name them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from pyobshell.engines import make_engine
from pyobshell.errors import OBShellError
from pyobshell.home.findings import Finding, ok, problem, repaired, warning
from pyobshell.settings import Paths, Settings
from pyobshell.tasks.ids import GenericId


@dataclass(frozen=True)
class Task:
    """A task of the agent that has not ended, or has failed and holds a lock.

    ``main`` is the task it is a part of, ``main_state`` how that is: empty if it could not be
    asked for, ``gone`` if it is no more.
    """

    id: str
    name: str
    state: str
    stage: str
    holds_lock: bool
    main: str = ""
    main_state: str = ""


@dataclass(frozen=True)
class Ordered:
    """What the server beside the agent is to do, by the last order.

    ``failed_start``: it was to be started, and why it could not be.
    """

    deployed: bool
    runs: bool
    failed_start: str | None


@dataclass(frozen=True)
class Running:
    """The agent that runs on the home; its tasks are None if it does not answer.

    ``refusal`` is what it answers if it cannot tell them. ``unwritable`` is what its own process
    fails to write to, with why, in words.
    """

    pid: int
    tasks: list[Task] | None
    refusal: str = ""
    unwritable: tuple[str, ...] = ()


def look_at_agent(paths: Paths, running: Running | None, *, repair: bool) -> Iterator[Finding]:
    """Whether an agent runs and answers, and whether its files tell so."""
    again = f"obshell agent restart --base-dir {shlex.quote(str(paths.base_dir))}"
    if running is None:
        stale = [file for file in (paths.pid_file, paths.socket) if _is_there(file)]
        for file in stale:
            if repair:
                file.unlink()
                yield repaired("agent", f"{file}, left by an agent that has gone, is removed")
            else:
                said = f"{file} is left of an agent that has gone"
                yield warning("agent", said, "harmless: the next start replaces it")
        if not stale:
            yield ok("agent", "none runs here")
        return
    lost = [file for file in (paths.pid_file, paths.socket) if not _is_there(file)]
    for file in lost:
        yield problem("agent", f"it runs (pid {running.pid}), but {file} is lost", again)
    named = "" if paths.pid_file in lost else paths.pid_file.read_text().strip()
    if named not in ("", str(running.pid)):
        yield warning("agent", f"{paths.pid_file} names process {named}, not {running.pid}", again)
    if running.tasks is not None:
        yield ok("agent", f"it runs and answers (pid {running.pid})")
    elif running.refusal:
        said = f"it runs (pid {running.pid}), but answers: {running.refusal}"
        yield problem("agent", said, "mend that; what is found below tells how")
    elif _is_paused(running.pid):
        said = f"it is paused (pid {running.pid}, SIGSTOP)"
        yield problem("agent", said, f"let it go on: kill -CONT {running.pid}")
    elif paths.socket not in lost:
        yield problem("agent", f"it runs (pid {running.pid}), but does not answer", again)
    yield from _look_at_writing(paths, running, again)


def _look_at_writing(paths: Paths, running: Running, again: str) -> Iterator[Finding]:
    """Whether the agent's own process can write: its limits and mounts are its own."""
    pid = running.pid
    for said in running.unwritable:
        look = (
            "what it is asked to change is refused; if others can write there look at its limits "
            f"(/proc/{pid}/limits), mounts (/proc/{pid}/mounts) and quota, then: {again}"
        )
        yield problem("agent", f"its process (pid {pid}) cannot write to {said}", look)
    limit = _largest_file(pid)
    if limit is not None:
        said = f"its process (pid {pid}) may write no file of more than {limit} bytes"
        remedy = f"start it without that limit (ulimit -f, LimitFSIZE=): {again}"
        if paths.log_file.exists() and paths.log_file.stat().st_size >= limit:
            yield problem("agent", f"{said}, and {paths.log_file} has come to that", remedy)
        else:
            yield warning("agent", said, remedy)


def _largest_file(pid: int) -> int | None:
    try:
        limit, _ = psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE)
    except psutil.Error:
        return None
    return None if limit == psutil.RLIM_INFINITY else int(limit)


def _is_paused(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def _is_there(file: Path) -> bool:
    return file.is_symlink() or file.exists()


async def server_pid(settings: Settings) -> int | None:
    """The process of the server beside the agent, if it runs.

    Raises ``OB.Server.Process.CheckFailed`` if a process is there that is not provably it.
    """
    engine = make_engine(
        settings.engine, settings.base_dir, settings.paths.state_dir, settings.observer
    )
    try:
        process = await engine.process()
        if process is None:
            return None
        with process:
            return process.pid
    finally:
        await engine.close()


async def look_at_server(settings: Settings, ordered: Ordered, running: Running | None) -> Finding:
    """Whether the server runs, against what was asked for last."""
    try:
        pid = await server_pid(settings)
    except OBShellError as error:
        return problem("server", str(error), "look at the process that it names")
    of_home = ["--base-dir", str(settings.base_dir)]
    start = shlex.join(["obshell", "cluster", "start", *of_home, "-s", str(settings.address)])
    if pid is not None:
        if ordered.deployed and not ordered.runs:
            said = f"it runs (pid {pid}), though it is recorded that it shall not"
            return warning("server", said, f"{start} has the agent keep it running; or stop it")
        return ok("server", f"it runs (pid {pid})")
    if not ordered.deployed:
        return ok("server", "none was deployed here")
    if ordered.failed_start is not None and not ordered.runs:
        said = f"it is down; when it was to be started that failed: {ordered.failed_start}"
        return warning("server", said, f"mend that, then {start}")
    if not ordered.runs:
        return ok("server", "it is down, as was asked for")
    if running is None:
        its_agent = shlex.join(["obshell", "agent", "start", *of_home])
        return warning("server", "it shall run, but is down", f"its agent starts it: {its_agent}")
    said = "it shall run, but is down"
    if ordered.failed_start is not None:
        said += f"; it cannot be started: {ordered.failed_start}"
    again = f"mend that: its agent tries it again and again; see {settings.paths.log_file}"
    return problem("server", said, again)


def look_at_tasks(tasks: list[Task], running: Running | None, home: Path) -> Iterator[Finding]:
    """What is unfinished, and who holds the agent's lock."""
    was_asked = running is not None and running.tasks is not None
    for task in tasks:
        said = f"'{task.name}' ({task.id}) is {task.state}, stage {task.stage}"
        if task.holds_lock:
            said += ", and holds the lock of this agent"
        if task.main:
            said += f" for {task.main}{_of_main(task, was_asked=was_asked)}"
        give_up = f"--force-pass-dag {task.main or task.id} of the next start or stop"
        look = shlex.join(["obshell", "task", "show", "-i", task.id, "--base-dir", str(home)])
        if task.state == "FAILED":
            yield warning("tasks", said, f"{look}; then retry it, or give it up with {give_up}")
        elif running is None:
            yield warning("tasks", said, "it is taken up when the agent is started")
        elif was_asked and task.main and not task.main_state:
            start = f"start {_coordinator(task.main)} if it is down (obshell agent start, there)"
            yield warning("tasks", said, f"{start}; or give it up with {give_up}")
        else:
            yield ok("tasks", said)
    if not tasks:
        yield ok("tasks", "none is unfinished, no lock is held")


def _of_main(task: Task, *, was_asked: bool) -> str:
    if task.main_state == "gone":
        return ", which is no more: the agent lets go by itself"
    if task.main_state:
        return f", which is {task.main_state}"
    return f"; {_coordinator(task.main)} could not be asked how that is" if was_asked else ""


def _coordinator(main: str) -> str:
    """The agent that runs a main task, which its id tells."""
    try:
        agent = GenericId.parse(main).agent
    except OBShellError:
        agent = None
    return "its agent" if agent is None else f"agent {agent}"
