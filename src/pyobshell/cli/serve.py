"""The agent's own process: it serves until it is told to end, and says how that went."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import faulthandler
import gc
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import structlog
import uvloop
from pydantic import ValidationError

from pyobshell import log
from pyobshell.agent import AddressChangedError, Agent, BaseDirInUseError, TakeOver
from pyobshell.cli.agents import Running
from pyobshell.cli.outcome import Exit, forbidden, print_error, words_of
from pyobshell.cli.output import print_json
from pyobshell.engines import cores
from pyobshell.errors import STORE_UNAVAILABLE, OBShellError
from pyobshell.home.opening import KeyFileError
from pyobshell.operations.takeover import RootPasswordError
from pyobshell.security.tls import TlsFileError
from pyobshell.settings import Settings
from pyobshell.store.sqlite import DamagedError
from pyobshell.whole_file import replace_file

_log = structlog.get_logger(__name__)
_CANNOT_LISTEN = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Threads hand over their work in small pieces: with Python's own 5 ms an answer that takes one
# millisecond of another thread's time would wait five for its turn.
_SWITCH_INTERVAL_S = 0.0005
# With Python's own 700 hundreds of connections that come at once, none of whose objects is garbage,
# are looked through time and again; what the agent drops is in few circles.
COLLECT_AFTER = 10_000
_UMASK = 0o027
_FILES = 65536
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@dataclass(frozen=True)
class Word:
    """What an agent says of its start: that it serves, or why it does not."""

    pid: int
    address: str = ""
    note: str = ""
    error: str = ""
    exit: Exit = Exit.OK


Report = Callable[[Word], None]
"""Takes an agent's word; raises ``BrokenPipeError`` if nobody is waiting for it any more."""


def settle_in() -> None:
    """Make this process one that an agent can live in; before any file is made."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.set_threshold(COLLECT_AFTER)
    os.umask(os.umask(0) | _UMASK)
    _have_files()
    cores.give_up()
    # The server is a daemon: as its next of kin, this process and not some lazy init takes note of
    # its end, without which it would stay in the process list.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _have_files() -> None:
    """Let the process have as many connections open as it takes from strangers and from others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft not in (resource.RLIM_INFINITY, wanted) and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def serve(given: dict[str, Any], report: Report, take_over: TakeOver, *, log_to_file: bool) -> Exit:
    """Run an agent in this process; returns how it ended. What went wrong is reported as well."""
    try:
        settings = Settings.model_validate(given)
        log.configure(settings.log_level, settings.paths.log_file if log_to_file else None)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, report, take_over))
    except Exception as error:
        word = _failure(given, error)
        unforeseen = None if _is_foreseen(error) else error
        _log.error(word.error, action="agent.failed", exc_info=unforeseen)
        report(word)
        return word.exit
    return Exit.OK


async def _serve(settings: Settings, report: Report, take_over: TakeOver) -> None:
    agent = Agent(settings, take_over=take_over)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, agent, loop)
    ready = asyncio.Event()
    serving = asyncio.create_task(agent.serve(ready))
    up = asyncio.create_task(ready.wait())
    await asyncio.wait({serving, up}, return_when=asyncio.FIRST_COMPLETED)
    up.cancel()
    if ready.is_set():
        keep(settings)
        try:
            report(Word(os.getpid(), str(settings.address), agent.note))
        except BrokenPipeError:
            agent.stop()  # whoever launched it has given up
    await serving


def _end(agent: Agent, loop: asyncio.AbstractEventLoop) -> None:
    """End in order; the next signal ends the process as it would without us."""
    agent.stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)


def keep(settings: Settings) -> None:
    """Write down what an agent was started with, for its next start."""
    path, content = settings.paths.settings, settings.model_dump_json(indent=2) + "\n"
    with contextlib.suppress(OSError, ValueError):
        if path.read_text() == content:
            return  # on a full disk it could not be written, and need not be
    replace_file(path, content)


def _failure(given: dict[str, Any], error: Exception) -> Word:
    """Why an agent did not start, in words and as an exit code."""
    text, code = str(error) or type(error).__name__, Exit.START_FAILED
    if isinstance(error, AddressChangedError):
        code = Exit.ADDRESS_CHANGED
    elif isinstance(error, RootPasswordError):
        code = Exit.ROOT_PASSWORD
    elif isinstance(error, OBShellError) and error.code is STORE_UNAVAILABLE:
        code = Exit.DAMAGED if isinstance(error, DamagedError) else Exit.START_FAILED
    elif isinstance(error, KeyFileError):
        text = f"{text}; to see what to do: obshell agent doctor --base-dir {given['base_dir']}"
        code = Exit.PERMISSION if error.forbidden else Exit.DAMAGED
    elif isinstance(error, TlsFileError):
        code = Exit.PERMISSION if error.forbidden else Exit.START_FAILED
    elif isinstance(error, BaseDirInUseError):
        text = f"{text}; stop it first: obshell agent stop --base-dir {given['base_dir']}"
    elif isinstance(error, OSError) and error.errno in _CANNOT_LISTEN:
        text = f"cannot listen on {given.get('ip')}:{given.get('port', '')}: {error.strerror}"
        code = Exit.LISTEN_FAILED
    elif isinstance(error, OSError) and forbidden(error):
        text, code = words_of(error), Exit.PERMISSION
    elif isinstance(error, OSError) and error.filename is not None:
        text = words_of(error)
    return Word(os.getpid(), error=text, exit=code)


def _is_foreseen(error: Exception) -> bool:
    """Whether an error says all there is to know; of others the log tells where they came from."""
    if isinstance(error, OSError):
        return error.errno in (*_CANNOT_LISTEN, *_FULL) or forbidden(error)
    return isinstance(
        error,
        (
            AddressChangedError,
            BaseDirInUseError,
            KeyFileError,
            OBShellError,
            RootPasswordError,
            TlsFileError,
            ValidationError,
        ),
    )


# --- in the foreground ---------------------------------------------------------------------------


def serve_in_foreground(
    given: dict[str, Any], take_over: dict[str, Any], *, as_json: bool = False
) -> Exit:
    """Run an agent here, as a service manager wants it; it logs to stderr."""
    settle_in()

    def answer(word: Word) -> None:
        if word.error:
            sys.stderr.write(f"obshell: {word.error}\n")
            if as_json:
                print_error(word.error)
            return
        _tell_systemd("READY=1")
        if as_json:
            print_json(Running(word.pid, word.address, Path(given["base_dir"]), word.note).document)
            sys.stdout.flush()

    return serve(given, answer, TakeOver(**take_over), log_to_file=False)


def _tell_systemd(state: str) -> None:
    """Speak systemd's protocol for services of type ``notify``."""
    name = os.environ.pop("NOTIFY_SOCKET", "")
    if not name:
        return
    address = "\0" + name[1:] if name.startswith("@") else name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(state.encode(), address)


# --- detached ------------------------------------------------------------------------------------


class _Pipe:
    """Carries one word to whoever launched the agent."""

    def __init__(self, descriptor: int) -> None:
        self._file: TextIO | None = os.fdopen(descriptor, "w")

    def __call__(self, word: Word) -> None:
        if self._file is None:
            return  # it has been told already that the agent serves; the rest is in the log
        file, self._file = self._file, None
        said = {"error": word.error, "exit": int(word.exit)} if word.error else {}
        with file:
            told = {"pid": word.pid, "address": word.address, "note": word.note}
            file.write(json.dumps({**told, **said}) + "\n")


def serve_detached(given: dict[str, Any], pipe: int, take_over: dict[str, Any]) -> Exit:
    """Run an agent in this process, which is a daemon already; its word goes down a pipe."""
    settle_in()
    report = _Pipe(pipe)
    try:
        _send_output_to(Path(given["base_dir"]) / "log_obshell/obshell.out")
    except OSError as error:
        word = _failure(given, error)
        report(word)
        return word.exit
    return serve(given, report, TakeOver(**take_over), log_to_file=True)


def _send_output_to(file: Path) -> None:
    """Keep what the interpreter itself may print in its last moments."""
    file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    faulthandler.enable()
