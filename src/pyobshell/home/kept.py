"""A copy of what the agent cannot learn anew, in a file beside its database.

Membership, passwords (sealed, as in the database), how the server was deployed: without tasks, so
that nothing that was under way when it was written is ever taken up again from it. Whether the
server is wanted is not in it either: a copy that is a little old would start a stopped server.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection, column, insert, table, text

from pyobshell.cluster.state import CHANGES, FAILED_START, WANTED, WANTED_BEFORE
from pyobshell.errors import OBShellError
from pyobshell.store.database import Database
from pyobshell.store.sqlite import DamagedError
from pyobshell.whole_file import replace_file

_log = structlog.get_logger(__name__)
TABLES = ("member", "setting", "server_setting")
_OF_THE_MOMENT = (WANTED, WANTED_BEFORE, FAILED_START)
_COUNTED = ("dag", "node", "sub_task", "sub_task_log", "server_setting")
# A database that is made anew numbers on from the next multiple. Ids of tasks that are lost are
# still in other agents' data (sub_dags, main_dag_id), in forcePassDag and in people's notes: they
# must never come to mean other tasks.
_LIFETIME_OF_NUMBERS = 1_000_000_000

_SCHEMA = text("SELECT version_num FROM alembic_version")
NUMBERS = "SELECT name, seq FROM sqlite_sequence"
_NUMBER_ON = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :number)")


HOME_ID = "home_id"
"""A setting that tells the database and the copy of one agent from those of others."""


class Essentials(BaseModel):
    """The tables' rows, the schema they are of, how often they had changed, the last ids given."""

    schema_revision: str
    changes: int
    numbers: dict[str, int]
    tables: dict[str, list[dict[str, Any]]]

    def is_ahead_of(self, changes: int, numbers: Mapping[str, int], revision: str) -> bool:
        """Whether a database that has counted so far lacks something that was in it once."""
        if self.changes > changes:
            return True
        if self.schema_revision != revision:  # a migration may number anew
            return False
        return any(number > numbers.get(name, 0) for name, number in self.numbers.items())

    def setting(self, name: str) -> str | None:
        """The value of a setting."""
        return next((r["value"] for r in self.tables["setting"] if r["name"] == name), None)


def is_of_another(home_id: str | None, copy: Essentials) -> bool:
    """Whether a database is another agent's than the copy; if one does not say, it is not known."""
    own = copy.setting(HOME_ID)
    return home_id is not None and own is not None and home_id != own


def read_from(connection: Connection) -> Essentials:
    """The essentials of a database as it stands."""
    tables = {
        name: [dict(row._mapping) for row in connection.execute(text(f"SELECT * FROM {name}"))]  # noqa: S608
        for name in TABLES
    }
    tables["setting"] = [row for row in tables["setting"] if row["name"] not in _OF_THE_MOMENT]
    found = Essentials(
        schema_revision=connection.execute(_SCHEMA).scalar_one(),
        changes=0,
        numbers={row.name: row.seq for row in connection.execute(text(NUMBERS))},
        tables=tables,
    )
    return found.model_copy(update={"changes": int(found.setting(CHANGES) or 0)})


def write_to(connection: Connection, essentials: Essentials, *, server_wanted: bool) -> None:
    """Fill an empty database of the schema that they are of."""
    for name in TABLES:
        rows = essentials.tables[name]
        if rows:
            connection.execute(insert(table(name, *map(column, rows[0]))), rows)
    wanted = {"name": WANTED, "value": "yes" if server_wanted else "no"}
    connection.execute(insert(table("setting", column("name"), column("value"))), wanted)
    connection.execute(text("DELETE FROM sqlite_sequence"))
    highest = max(essentials.numbers.values(), default=0)
    number = (highest // _LIFETIME_OF_NUMBERS + 1) * _LIFETIME_OF_NUMBERS
    for name in _COUNTED:
        connection.execute(_NUMBER_ON, {"name": name, "number": number})


def load(file: Path) -> Essentials | None:
    """The copy in a file; None if there is no file. Raises DamagedError, or OSError."""
    try:
        content = json.loads(file.read_bytes())
        essentials = Essentials.model_validate(content["essentials"])
        if content["sha256"] != _checksum(essentials):
            raise ValueError
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, ValidationError):
        raise DamagedError(file, "it is not as it was written") from None
    return essentials


def store(file: Path, essentials: Essentials) -> None:
    """Write the copy; raises OSError, and then the one before is there still."""
    content = {"sha256": _checksum(essentials), "essentials": essentials.model_dump()}
    replace_file(file, json.dumps(content, indent=1))


def _checksum(essentials: Essentials) -> str:
    canonical = json.dumps(essentials.model_dump(), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


class KeptCopy:
    """Keeps the copy as the database is, a moment after each change; nobody waits for it."""

    def __init__(self, database: Database, file: Path) -> None:
        self._database = database
        self._file = file
        self._changed = False
        self._writing: asyncio.Task[None] | None = None

    def renew(self) -> None:
        """Write it anew, soon."""
        self._changed = True
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def settled(self) -> None:
        """Return when it is as the database is, or could not be written."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._changed:
            self._changed = False
            try:
                essentials = await self._database.read(read_from)
                await asyncio.to_thread(store, self._file, essentials)
            except (OBShellError, OSError, RuntimeError) as error:
                # The change itself is made. `agent doctor` tells, and the next start tries again.
                _log.warning("no copy is kept", action="kept_copy.write", cause=str(error))
