"""Looks at what the agent has stored: the database, the copy of its essentials, its secrets."""

from __future__ import annotations

import contextlib
import json
import shlex
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from pyobshell.cluster.model import Identity
from pyobshell.cluster.state import ACTED_ALONE, CHANGES, FAILED_START, SECRETS, WANTED
from pyobshell.errors import OBShellError
from pyobshell.home import kept
from pyobshell.home.findings import Finding, ok, problem, warning
from pyobshell.home.kept import Essentials
from pyobshell.home.opening import (
    KeyFileError,
    has_lived,
    open_vault,
    require_known,
    require_sound,
)
from pyobshell.home.processes import Ordered, Task
from pyobshell.settings import Paths, Settings
from pyobshell.store import sqlite
from pyobshell.store.sqlite import DamagedError
from pyobshell.tasks.ids import GenericId
from pyobshell.wire import NANOSECONDS

_UNFINISHED = (
    "SELECT id, name, state, stage, max_stage, data, EXISTS"
    " (SELECT 1 FROM maintenance WHERE dag_id = dag.id) AS locks FROM dag"
    " WHERE state NOT IN ('SUCCEED', 'FAILED') OR locks ORDER BY id"
)
_IDENTITY = "SELECT value FROM setting WHERE name = 'identity'"
_NEWEST = (
    "SELECT MAX((SELECT COALESCE(MAX(MAX(start_time, end_time)), 0) FROM dag),"
    " (SELECT COALESCE(MAX(create_time), 0) FROM sub_task_log),"
    " (SELECT COALESCE(MAX(CAST(value AS INTEGER)), 0) FROM setting WHERE name = ?))"
)
_JUMP_S = 60


@dataclass
class Stored:
    """What could be read: the rows of ``setting``, who the members are, the unfinished tasks.

    ``damaged`` says that the database has to be replaced, ``is_read`` that all this is from it.
    """

    damaged: DamagedError | None = None
    is_read: bool = False
    settings: dict[str, str] = field(default_factory=dict)
    members: set[tuple[str, int]] = field(default_factory=set)
    tasks: list[Task] = field(default_factory=list)
    newest: int = 0
    changes: int = 0

    @property
    def ordered(self) -> Ordered:
        """What the server is to do."""
        deployed, runs = "server_settings" in self.settings, self.settings.get(WANTED) == "yes"
        return Ordered(deployed, runs, self.settings.get(FAILED_START))

    @property
    def is_member(self) -> bool:
        """Whether the agent belongs to a cluster."""
        return self.settings.get("identity", Identity.SINGLE) != Identity.SINGLE


def read(
    paths: Paths, own: Settings | None, *, all_of_it: bool, runs: bool
) -> tuple[Stored, list[Finding]]:
    """Look at the database of an agent that ``runs`` or not; ``all_of_it``: the indexes as well."""
    stored = Stored()
    home = shlex.quote(str(paths.base_dir))
    repair = f"obshell agent doctor --repair --base-dir {home}"
    if runs:
        repair = f"obshell agent stop --base-dir {home}; {repair}"
    if not has_lived(paths) and not _is_identified(paths):
        return stored, [ok("database", "the first start of the agent makes it")]
    try:
        require_sound(paths)
        with sqlite.reading(paths.database) as connection:
            sqlite.require_whole(paths.database, connection, indexes=all_of_it)
            sqlite.require_texts(connection)
            _read(stored, connection, own)
            return stored, list(_look_at_schema(paths, connection))
    except DamagedError as error:
        stored.damaged = error
        return stored, [problem("database", _cause(error), f"{repair}; its tasks are lost")]
    except OBShellError as error:
        return stored, [problem("database", _cause(error), "mend that; nothing is lost")]
    except OSError as error:  # the copy beside it, mostly
        said = f"{error.filename}: {(error.strerror or '').lower()}"
        return stored, [problem("database", said, "mend that; nothing is lost")]


def _is_identified(paths: Paths) -> bool:
    """Whether it is in the database what an agent is that has lost its key, and the copy."""
    with contextlib.suppress(OBShellError, OSError), sqlite.reading(paths.database) as connection:
        return connection.execute(_IDENTITY).fetchone() is not None
    return False


def _cause(error: OBShellError) -> str:
    return f"{error.arguments['file']}: {error.arguments['cause']}"


def _look_at_schema(paths: Paths, connection: sqlite3.Connection) -> Iterator[Finding]:
    revision = sqlite.revision(connection)
    require_known(paths.database, str(revision))
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    yield ok("database", f"{paths.database} is sound (schema {revision}, {mode})")
    if mode != "wal":
        yield warning("database", f"its journal mode is {mode}", "the next start sets it to wal")


def _read(stored: Stored, connection: sqlite3.Connection, own: Settings | None) -> None:
    stored.settings = dict(connection.execute("SELECT name, value FROM setting"))
    stored.changes = int(stored.settings.get(CHANGES, 0))
    stored.members = {(ip, port) for ip, port in connection.execute("SELECT ip, port FROM member")}
    stored.newest = int(connection.execute(_NEWEST, (ACTED_ALONE,)).fetchone()[0])
    address = None if own is None else own.address
    for number, name, state, stage, last, data, locks in connection.execute(_UNFINISHED):
        main = dict(json.loads(data)).get("main_dag_id", "")
        task_id = str(number) if address is None else str(GenericId(number, address))
        stored.tasks.append(Task(task_id, name, state, f"{stage} of {last}", bool(locks), main))
    stored.is_read = True


def look_at_copy(paths: Paths, stored: Stored) -> tuple[Essentials | None, Finding | None]:
    """The copy of the essentials, and whether it is as new as the database."""
    anew = "" if stored.damaged else "it is written anew when the agent is started"
    try:
        copy = kept.load(paths.kept_copy)
    except (DamagedError, OSError) as error:
        why = _cause(error) if isinstance(error, DamagedError) else str(error)
        return None, warning("kept copy", why, anew)
    if copy is None:
        there = has_lived(paths)
        return None, warning("kept copy", f"{paths.kept_copy} is missing", anew) if there else None
    if stored.damaged is None and copy.changes < stored.changes:
        return copy, warning("kept copy", f"{paths.kept_copy} is older than the database", anew)
    agrees = "" if stored.damaged else ", and agrees with the database"
    return copy, ok("kept copy", f"{paths.kept_copy} is whole{agrees}")


def look_at_secrets(paths: Paths, settings: dict[str, str]) -> Finding:
    """Whether the passwords can be opened."""
    sealed = [settings[name] for name in SECRETS if name in settings]
    if not sealed:
        return ok("secrets", "no password is stored")
    home = shlex.quote(str(paths.base_dir))
    forget = f"obshell agent doctor --repair --forget-passwords --base-dir {home}"
    restore = f"restore it from a backup of {paths.state_dir}; if there is none: {forget}"
    try:
        open_vault(paths, sealed)
    except KeyFileError as error:
        if error.forbidden:
            return problem("secrets", str(error), "see directories")
        return problem("secrets", str(error), restore)
    except OSError as error:
        return problem("secrets", str(error), restore)
    return ok("secrets", f"the stored passwords open with {paths.vault_key}")


def look_at_membership(stored: Stored, own: Settings) -> Finding:
    """Whether the agent is a member under the address it is started with."""
    identity = stored.settings.get("identity", Identity.SINGLE)
    if not stored.is_member:
        return ok("membership", "it is a member of no cluster")
    if identity == Identity.SCALING_OUT and not stored.tasks:
        said = "it was being taken into a cluster, and the task that did it is lost"
        anew = f"roll the cluster's task back, move {own.paths.state_dir} away, begin anew"
        return problem("membership", said, anew)
    if tuple(own.address) in stored.members:
        others = len(stored.members) - 1
        return ok("membership", f"{own.address} is {identity}, with {others} other agents")
    known = ", ".join(f"{ip}:{port}" for ip, port in sorted(stored.members))
    said = f"{own.address} is no member of its cluster ({known})"
    home = shlex.quote(str(own.base_dir))
    start = f"obshell agent start --base-dir {home} --ip IP --port PORT"
    return problem("membership", said, f"start it at the address it is known by: {start}")


def look_at_clock(stored: Stored) -> Finding:
    """Whether what is recorded is later than now."""
    ahead_s = stored.newest / NANOSECONDS - time.time()
    if ahead_s < _JUMP_S:
        return ok("clock", "nothing recorded lies in the future")
    said = f"the newest record is {ahead_s:.0f} s later than now: the clock has been set back"
    remedy = "compare the clocks of all hosts; tasks are kept in order by number, not by time"
    return warning("clock", said, remedy)
