"""Why an agent did not start: its exit code, its words, and whether they say all there is."""

from __future__ import annotations

import errno

import pytest

from pyobshell import errors
from pyobshell.agent import AddressChangedError, BaseDirInUseError
from pyobshell.cli import serve
from pyobshell.security.tls import TlsFileError

_GIVEN = {"ip": "10.0.0.1", "port": 2886, "base_dir": "/x"}


@pytest.mark.parametrize(
    ("error", "exit_code", "words"),
    [
        (BaseDirInUseError("an agent runs on /x already"), 20, "obshell agent stop --base-dir /x"),
        (AddressChangedError("10.0.0.1:2886 is no member"), 19, "is no member"),
        (OSError(errno.EADDRINUSE, "Address already in use"), 21, "cannot listen on 10.0.0.1:2886"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 27, "/x: permission denied"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), 27, "/x: read-only file system"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 20, "/x: no space left on device"),
        (errors.ILLEGAL_ARGUMENT(name="engine", reason="unknown"), 20, "unknown"),
        (TlsFileError("/x.crt: no such file"), 20, "/x.crt: no such file"),
        (TlsFileError("/x.key: permission denied", forbidden=True), 27, "/x.key"),
    ],
)
def test_a_foreseen_refusal_has_its_exit_code_and_needs_no_traceback(error, exit_code, words):
    word = serve._failure(_GIVEN, error)
    assert word.exit == exit_code
    assert words in word.error
    assert serve._is_foreseen(error)


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("x"), OSError(errno.EIO, "I/O")])
def test_what_nobody_has_foreseen_is_told_in_full(error):
    assert serve._failure(_GIVEN, error).exit == 20
    assert not serve._is_foreseen(error)
