"""Keeping the tables in step with the cluster: only what has changed is written."""

from __future__ import annotations

from standin.backend import Backend, literal, replace
from standin.cluster import Cluster
from standin.tables import TABLES, Table
from standin.views import rows_of

Rows = dict[tuple[object, ...], tuple[object, ...]]


class Written:
    """What the tables hold, and how they are brought up to date."""

    def __init__(self) -> None:
        self._known: dict[str, Rows] = {}

    async def write(self, backend: Backend, cluster: Cluster) -> None:
        """Bring all tables and the document into step with the cluster, in one transaction."""
        document = cluster.to_json()
        statements = [f"REPLACE INTO oceanbase.standin_cluster VALUES (1, {literal(document)})"]
        known: dict[str, Rows] = {}
        current = rows_of(cluster)
        for table in TABLES:
            full = [tuple(row.get(name) for name in table.names) for row in current[table.name]]
            rows = known[table.name] = {row[: table.keys]: row for row in full}
            statements += _changes(table, self._known.get(table.name), rows)
        await backend.query("BEGIN")
        for statement in statements:
            await backend.query(statement)
        await backend.query("COMMIT")
        self._known = known


def _changes(
    table: Table,
    before: Rows | None,
    after: Rows,
) -> list[str]:
    name = f"oceanbase.`{table.name}`"
    statements = []
    if before is None:
        statements.append(f"DELETE FROM {name}")
        before = {}
    for key in before.keys() - after.keys():
        parts = zip(table.names, key, strict=False)
        where = " AND ".join(f"{column} = {literal(value)}" for column, value in parts)
        statements.append(f"DELETE FROM {name} WHERE {where}")
    new = [row for key, row in after.items() if before.get(key) != row]
    if new:
        statements.append(replace(name, new))
    return statements
