"""Looks at an agent's directories and files: modes, owners, space, settings, keys, TLS, logs."""

from __future__ import annotations

import json
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from pyobshell.home.findings import Finding, ok, problem, repaired, warning
from pyobshell.home.opening import owner
from pyobshell.security.keyring import Keyring
from pyobshell.security.tls import WARN_DAYS, Tls, TlsFileError, now
from pyobshell.settings import Paths, Settings

_FOR_OTHERS = 0o077
_MIB = 1 << 20
# The log beside the database grows to some MiB before it is folded in, a log file to 32.
_LITTLE_SPACE, _NO_SPACE = 64 * _MIB, 8 * _MIB
_FEW_INODES = 100
_LARGE_LOGS = 1024 * _MIB  # they are rotated at a fifth of that: something else writes there


def secret_files(paths: Paths) -> list[Path]:
    """The files that are for the agent's user alone, as far as they are there."""
    named = [
        paths.private_key,
        paths.vault_key,
        paths.settings,
        paths.kept_copy,
        paths.used_headers,
        paths.timeless_headers,
    ]
    return [*(file for file in named if file.exists()), *paths.state_dir.glob("meta.db*")]


def look_at_directories(paths: Paths, *, repair: bool) -> Iterator[Finding]:
    """Whether what is the agent's is its user's alone, and can be written to."""
    if not paths.state_dir.is_dir():
        start = f"obshell agent start --base-dir {shlex.quote(str(paths.base_dir))} --ip IP"
        yield warning("directories", f"no agent has run on {paths.base_dir} yet", start)
        return
    too_open = [
        (file, mode)
        for file, mode in [
            (paths.state_dir, 0o700),
            *((file, 0o600) for file in secret_files(paths)),
        ]
        if stat.S_IMODE(file.stat().st_mode) & _FOR_OTHERS
    ]
    for file, mode in too_open:
        was = stat.S_IMODE(file.stat().st_mode)
        if repair:
            file.chmod(mode)
            yield repaired("directories", f"{file} had mode {was:04o}, and has {mode:04o} again")
        else:
            said = f"{file} may be used by others than its owner (mode {was:04o})"
            yield problem("directories", said, f"look who had access, then chmod {mode:o} {file}")
    strange = list(_of_others(paths))
    yield from strange
    if not too_open and not strange:
        yield ok("directories", f"{paths.state_dir} is its user's alone")


def is_of_another(paths: Paths) -> bool:
    """Whether another user than this one has the agent's files: new ones would not be his."""
    return paths.state_dir.is_dir() and paths.state_dir.stat().st_uid != os.geteuid()


def _of_others(paths: Paths) -> Iterator[Finding]:
    """What belongs to another user than the directory: as when root has started the agent once."""
    number = paths.state_dir.stat().st_uid
    whose = owner(paths.state_dir)
    for file in secret_files(paths):
        if file.stat().st_uid != number:
            said = f"{file} belongs to {owner(file)}, its directory to {whose}"
            yield problem("directories", said, f"chown {whose} {file}")
    for directory in (paths.state_dir, paths.run_dir, paths.log_dir):
        if directory.exists() and not os.access(directory, os.W_OK | os.X_OK):
            said = f"{directory} cannot be written to: it belongs to {owner(directory)}"
            if os.statvfs(directory).f_flag & os.ST_RDONLY:
                said = f"{directory} is on a file system that is read-only"
            yield problem(
                "directories", said, "mount it writable, or run this as the user of the agent"
            )


def look_at_space(paths: Paths) -> Iterator[Finding]:
    """Whether there is room for the database and the logs."""
    directory = paths.state_dir if paths.state_dir.exists() else paths.base_dir
    if not directory.exists():
        return
    system = os.statvfs(directory)
    free = system.f_bavail * system.f_frsize
    said = f"{free // _MIB} MiB are free at {directory}"
    remedy = "free some space; the agent goes on by itself as soon as there is some"
    if free < _NO_SPACE:
        yield problem("space", f"{said}: soon nothing can be recorded any more", remedy)
    elif free < _LITTLE_SPACE:
        yield warning("space", f"{said}, fewer than its database and logs may need", remedy)
    else:
        yield ok("space", said)
    if system.f_files and system.f_favail < _FEW_INODES:
        yield problem("space", f"{system.f_favail} inodes are free at {directory}", remedy)


def look_at_logs(paths: Paths) -> Iterator[Finding]:
    """How large the agent's log has grown."""
    if paths.log_dir.is_dir():
        size = sum(file.stat().st_size for file in paths.log_dir.iterdir() if file.is_file())
        said = f"{paths.log_dir} has {size // _MIB} MiB"
        large = size > _LARGE_LOGS
        remedy = "look what else is in there; obshell.out may be emptied"
        yield warning("logs", said, remedy) if large else ok("logs", said)


def look_at_settings(paths: Paths) -> tuple[Settings | None, Finding]:
    """What the agent was last started with, if that can be read."""
    start = f"obshell agent start --base-dir {shlex.quote(str(paths.base_dir))} --ip IP"
    remedy = f"{start}, with --port and whatever else is not as by default: it is written anew"
    try:
        settings = Settings.model_validate(json.loads(paths.settings.read_bytes()))
        address = settings.address
    except FileNotFoundError:
        return None, warning("settings", f"{paths.settings} is missing", remedy)
    except OSError as error:
        return None, problem("settings", f"{paths.settings}: {error.strerror}", "see directories")
    except (ValueError, ValidationError):
        return None, problem("settings", f"{paths.settings} is damaged", remedy)
    return settings, ok("settings", f"the agent is {address}")


def look_at_tls(settings: Settings) -> Finding:
    """Whether TLS can be spoken with the files that the agent has for it, and for how long."""
    try:
        days = Tls(settings, quiet=True).certificate.days_left(now())
    except TlsFileError as error:
        return problem("tls", str(error), "mend that, then: obshell agent reload-tls")
    renew = "renew the certificate, then: obshell agent reload-tls"
    if days < 0:
        return problem("tls", f"{settings.tls_cert} has expired", renew)
    if days < WARN_DAYS:
        return warning("tls", f"{settings.tls_cert} expires in {days:.0f} days", renew)
    return ok("tls", f"{settings.tls_cert} is good for {days:.0f} days")


def look_at_private_key(paths: Paths, *, is_member: bool) -> Finding:
    """Whether the key by which others know the agent is there."""
    file = paths.private_key
    restore = (
        f"restore it from a backup of {paths.state_dir}; without one, an agent of observers can be "
        f"made anew: move {paths.state_dir} away, start with OB_ROOT_PASSWORD set"
    )
    try:
        Keyring.from_text(file.read_text())
    except FileNotFoundError:
        if is_member:
            return problem("agent key", f"{file} is missing, by which the others know it", restore)
        return ok("agent key", f"{file} is made at the next start")
    except OSError as error:
        chown = f"it belongs to {owner(file)}: chown it to the user of the agent"
        return problem("agent key", f"{file}: {(error.strerror or '').lower()}", chown)
    except ValueError:
        return problem("agent key", f"{file} is damaged", restore)
    return ok("agent key", f"{file} can be read")
