"""Lists and sets the parameters of a cluster, through any agent whose server serves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller, Nothing, procedure
from pyobshell.deadline import Deadline
from pyobshell.engines.ob_parameters import ParameterRow, Setting
from pyobshell.errors import OBShellError
from pyobshell.operations import views
from pyobshell.operations.site import Site, require_cluster
from pyobshell.requests import ParameterSetting, SetParametersRequest
from pyobshell.wire import (
    ClusterParameter,
    ServerParameterValue,
    TenantParameterValue,
)

_PATIENCE_S = 30.0
_CLUSTER, _TENANT = "CLUSTER", "TENANT"
_ALL_USER, _SYS = "ALL_USER", "sys"


class Parameters(BaseModel):
    """Parameters of a cluster, by name."""

    parameters: list[ClusterParameter]


class Settings(BaseModel):
    """Settings to be made in this order, after all of them have been checked."""

    settings: list[Setting]


async def list_parameters(site: Site) -> list[ClusterParameter]:
    """Every parameter that is not hidden, with its values on all servers."""
    _require_member(site)
    found = await views.ask(site, read, Nothing(), Deadline.after(_PATIENCE_S))
    return found.parameters


async def set_parameters(site: Site, request: SetParametersRequest) -> None:
    """Set parameters, each everywhere or in the places that are named.

    All is checked before the first is set. If the cluster refuses one nevertheless, the error says
    which had been set before it: there is no transaction around them.
    """
    _require_member(site)
    wanted = Settings(settings=[one for param in request.params for one in _settings(param)])
    if wanted.settings:
        await views.ask(site, write, wanted, Deadline.after(_PATIENCE_S))


def _require_member(site: Site) -> None:
    site.cluster.view.require(Identity.CLUSTER_AGENT)
    require_cluster(site)


# --- where a parameter is to be set --------------------------------------------------------------


def _settings(param: ParameterSetting) -> Iterator[Setting]:
    """The statements that one item of a request stands for; raises ``Common.IllegalArgument``."""
    if param.zones and param.servers:
        raise errors.ILLEGAL_ARGUMENT(name="zones, servers", reason="give one of them")
    scope = param.scope.upper()
    if scope == _TENANT:
        yield from _for_tenants(param)
    elif scope == _CLUSTER:
        yield from _for_cluster(param)
    else:
        raise errors.ILLEGAL_ARGUMENT(
            name="scope", reason=f"it is CLUSTER or TENANT, not '{param.scope}'"
        )


def _for_cluster(param: ParameterSetting) -> Iterator[Setting]:
    if param.tenants or param.all_user_tenant:
        raise errors.ILLEGAL_ARGUMENT(
            name="tenants, all_user_tenant", reason="they go with scope TENANT"
        )
    for zone in param.zones:
        yield Setting(param.name, param.value, zone=zone)
    for server in param.servers:
        yield Setting(param.name, param.value, server=str(Address.parse(server, None)))
    if not (param.zones or param.servers):
        yield Setting(param.name, param.value)


def _for_tenants(param: ParameterSetting) -> Iterator[Setting]:
    """Without any tenant it is the one that asks, which is the system's."""
    if param.zones or param.servers:
        raise errors.ILLEGAL_ARGUMENT(name="zones, servers", reason="they go with scope CLUSTER")
    if param.tenants and param.all_user_tenant:
        raise errors.ILLEGAL_ARGUMENT(name="tenants, all_user_tenant", reason="give one of them")
    for tenant in param.tenants:
        yield Setting(param.name, param.value, tenant=tenant)
    if param.all_user_tenant:
        yield Setting(param.name, param.value, tenant=_ALL_USER)
    elif not param.tenants:
        yield Setting(param.name, param.value, tenant=_SYS)


# --- what an agent does whose server serves ------------------------------------------------------


@procedure("cluster/parameters")
async def read(site: Site, caller: Caller, request: Nothing) -> Parameters:
    """What the server here tells of the cluster's parameters."""
    rows = await require_cluster(site).parameters.rows(caller.deadline)
    by_name = groupby((row for row in rows if not row.is_hidden), key=lambda row: row.name)
    return Parameters(parameters=[_described(list(found)) for _, found in by_name])


@procedure("cluster/set_parameters")
async def write(site: Site, caller: Caller, wanted: Settings) -> Nothing:
    """Check settings against the cluster as it is, then make them one after the other."""
    parameters = require_cluster(site).parameters
    await _check(site, wanted.settings, caller.deadline)
    done: list[str] = []
    for setting in wanted.settings:
        try:
            await parameters.set(setting, caller.deadline)
        except OBShellError as error:
            raise _half_done(error, setting, done) from error
        done.append(str(setting))
    return Nothing()


def _half_done(error: OBShellError, failed: Setting, done: list[str]) -> OBShellError:
    """The same error, and what is so already."""
    why = error.arguments.get("cause") or error.arguments.get("reason") or error
    said = f"{failed}: {why}"
    if done:
        said += f"; set before it: {', '.join(done)}"
    if error.code is errors.SERVER_UNAVAILABLE:
        return errors.SERVER_UNAVAILABLE(reason=said)
    return errors.MYSQL_ERROR(cause=said)


async def _check(site: Site, settings: Sequence[Setting], deadline: Deadline) -> None:
    """Raise for what the cluster does not have, before anything is changed."""
    cluster = require_cluster(site)
    known = {row.name: row for row in await cluster.parameters.rows(deadline)}
    zones = {zone.name for zone in await cluster.zones(deadline)}
    servers = {str(row.address) for row in await cluster.servers(deadline)}
    tenants = {*await cluster.parameters.tenants(deadline)}
    if tenants <= {_SYS} and any(setting.tenant == _ALL_USER for setting in settings):
        raise errors.ILLEGAL_ARGUMENT(name="all_user_tenant", reason="users have no tenant yet")
    tenants.add(_ALL_USER)
    for setting in settings:
        row = known.get(setting.name.lower())
        if row is None:
            raise errors.ILLEGAL_ARGUMENT(name="name", reason=f"no parameter {setting.name}")
        if row.is_read_only:
            raise errors.ILLEGAL_ARGUMENT(name="name", reason=f"{setting.name} is read-only")
        if (row.scope == _TENANT) is not (setting.tenant is not None):
            raise errors.ILLEGAL_ARGUMENT(
                name="scope", reason=f"{setting.name} is a parameter of scope {row.scope}"
            )
        for place, given, there in (
            ("zones", setting.zone, zones),
            ("servers", setting.server, servers),
            ("tenants", setting.tenant, tenants),
        ):
            if given is not None and given not in there:
                raise errors.ILLEGAL_ARGUMENT(name=place, reason=f"the cluster has no {given}")


# --- in OBShell's shape --------------------------------------------------------------------------


def _described(rows: list[ParameterRow]) -> ClusterParameter:
    """One parameter from all of its rows."""
    first = rows[0]
    values = list(dict.fromkeys(row.value for row in rows))
    of_tenants = {(row.tenant_id, row.tenant_name, row.value): None for row in rows}
    return ClusterParameter(
        name=first.name,
        scope=first.scope,
        edit_level=first.edit_level,
        default_value=first.default_value or "",
        section=first.section,
        data_type=first.data_type,
        info=first.info,
        ob_parameters=[
            ServerParameterValue(
                svr_ip=row.svr_ip,
                svr_port=row.svr_port,
                zone=row.zone,
                tenant_id=row.tenant_id,
                tenant_name=row.tenant_name,
                value=row.value,
            )
            for row in rows
        ],
        tenant_value=[
            TenantParameterValue(tenant_id=tenant_id, tenant_name=name, value=value)
            for tenant_id, name, value in of_tenants
            if tenant_id is not None
        ]
        or None,
        values=values,
        is_single_value=len(values) == 1,
    )


PROCEDURES = (read, write)
