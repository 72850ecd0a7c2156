"""The parameters of a cluster, its servers and its tenants: what they are, and how they are set."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyobshell import errors
from pyobshell.deadline import Deadline
from pyobshell.engines.sql import Sql

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A tenant that is only just being made or dropped has no name in the other view.
_PARAMETERS = (
    "select p.name, p.scope, p.edit_level, p.default_value, p.section, p.data_type, p.info,"
    " p.svr_ip, p.svr_port, p.zone, p.tenant_id, t.tenant_name, p.value"
    " from oceanbase.GV$OB_PARAMETERS p"
    " left join oceanbase.DBA_OB_TENANTS t on t.tenant_id = p.tenant_id"
    " order by p.name, p.zone, p.svr_ip, p.svr_port, p.tenant_id"
)
_TENANTS = (
    "select tenant_name from oceanbase.DBA_OB_TENANTS"
    " where tenant_type != 'META' and in_recyclebin = 'NO'"
)


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """One row of ``GV$OB_PARAMETERS``: what a parameter is on one server, for one tenant if it is
    a parameter of tenants.
    """

    name: str
    scope: str
    edit_level: str
    default_value: str | None
    section: str
    data_type: str
    info: str
    svr_ip: str
    svr_port: int
    zone: str
    tenant_id: int | None
    tenant_name: str | None
    value: str

    @property
    def is_hidden(self) -> bool:
        """Whether it is for those who know, and not in lists."""
        return self.name.startswith("_")

    @property
    def is_read_only(self) -> bool:
        """Whether it can be given at the first start only."""
        return self.edit_level.upper() == "READONLY"


@dataclass(frozen=True, slots=True)
class Setting:
    """One parameter and its new value: everywhere, or in one zone, on one server (``ip:rpc_port``),
    for one tenant (``ALL_USER``: for all but the system's).
    """

    name: str
    value: str
    zone: str | None = None
    server: str | None = None
    tenant: str | None = None

    def __str__(self) -> str:
        where = (("ZONE", self.zone), ("SERVER", self.server), ("TENANT", self.tenant))
        return self.name + "".join(f" {kind} {name}" for kind, name in where if name is not None)


class ObParameters:
    """The parameters behind one server; what it raises is what :class:`Sql` raises."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    async def rows(self, deadline: Deadline) -> list[ParameterRow]:
        """Every value of every parameter, hidden ones too, by name and place."""
        return [ParameterRow(*row) for row in await self._sql.query(_PARAMETERS, deadline=deadline)]

    async def tenants(self, deadline: Deadline) -> list[str]:
        """The names of the tenants that have parameters to be set."""
        return [name for (name,) in await self._sql.query(_TENANTS, deadline=deadline)]

    async def set(self, setting: Setting, deadline: Deadline) -> None:
        """Set one parameter; repeating it is harmless."""
        if not _NAME.fullmatch(setting.name):  # the one part that cannot be sent as a value
            raise errors.ILLEGAL_ARGUMENT(name="name", reason=f"'{setting.name}' is no name")
        statement, values = f"ALTER SYSTEM SET `{setting.name}` = %s", [setting.value]
        for kind, name in (
            ("ZONE", setting.zone),
            ("SERVER", setting.server),
            ("TENANT", setting.tenant),
        ):
            if name is not None:
                statement += f" {kind} = %s"
                values.append(name)
        await self._sql.query(statement, *values, deadline=deadline)
