"""Runs a Python program many times without starting Python each time.

A process that has loaded the libraries forks for each run, which then loads the program itself, and
has arguments, environment, directory, output and end of its own. What a run leaves behind that
still has its output open keeps ``Forks.run`` waiting, as it keeps a shell.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from runpy import run_module

_LONGEST_REQUEST = 1 << 16
_LONGEST_CODE = 16


class Forks:
    """Runs of one module, with these libraries at hand; to be closed in the end."""

    def __init__(self, module: str, libraries: Sequence[str], environment: Mapping[str, str]):
        self._module = module
        self._door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno()), *libraries],
                stdin=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
            )

    def run(
        self, words: Sequence[str], environment: Mapping[str, str], cwd: Path, patience_s: int
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, or until patience is lost, which is an end by SIGALRM."""
        run = {"module": self._module, "words": words, "environment": dict(environment)}
        request = json.dumps({**run, "cwd": str(cwd), "patience_s": patience_s})
        pipes = [os.pipe(), os.pipe()]
        socket.send_fds(self._door, [request.encode()], [writing for _, writing in pipes])
        for _, writing in pipes:
            os.close(writing)
        with ThreadPoolExecutor(len(pipes)) as readers:
            out, err = readers.map(_read, (reading for reading, _ in pipes))
        exit_code = int(self._door.recv(_LONGEST_CODE))
        return subprocess.CompletedProcess([self._module, *words], exit_code, out, err)

    def close(self) -> None:
        """End the process that forks; it ends when there is nobody to ask it."""
        self._door.close()
        self._process.wait()


def _read(descriptor: int) -> str:
    with os.fdopen(descriptor, encoding="utf-8") as file:
        return file.read()


# --- in the process that forks -------------------------------------------------------------------


def _fork_on_request(door: socket.socket) -> None:
    while True:
        request, outputs, _, _ = socket.recv_fds(door, _LONGEST_REQUEST, 2)
        if not request:
            return
        pid = os.fork()
        if pid == 0:
            door.close()
            _become(outputs, **json.loads(request))
            return
        for output in outputs:
            os.close(output)
        door.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def _become(
    outputs: Sequence[int],
    module: str,
    words: list[str],
    environment: dict[str, str],
    cwd: str,
    patience_s: int,
) -> None:
    signal.alarm(patience_s)
    for number, output in enumerate(outputs, start=1):
        os.dup2(output, number)
        os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv[1:] = words
    run_module(module, run_name="__main__", alter_sys=True)


def _main(door: str, *libraries: str) -> None:
    for library in libraries:
        import_module(library)
    gc.freeze()
    _fork_on_request(socket.socket(fileno=int(door)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
