"""ALTER SYSTEM SET, and the parameters that come from a server's own configuration."""

from __future__ import annotations

from collections.abc import Iterable

from standin.cluster import SYS, Cluster, Parameter, Server
from standin.errors import SqlError, invalid, unknown_parameter

Kinds = dict[str, tuple[str, str]]
"""The scope and the edit level of each parameter."""
KINDS = "SELECT NAME, SCOPE, EDIT_LEVEL FROM oceanbase.standin_parameter_kind"


def set_all(cluster: Cluster, kinds: Kinds, settings: Iterable[dict[str, str]]) -> None:
    """ALTER SYSTEM SET: all of the settings, or none and an error."""
    settings = list(settings)
    for setting in settings:
        if setting["name"] not in kinds:
            raise unknown_parameter()
        if kinds[setting["name"]][1] == "READONLY":
            raise SqlError(4147, f"config {setting['name']} is read-only, not allowed to change")
        _servers(cluster, setting)
    for setting in settings:
        for server in _servers(cluster, setting):
            for tenant in _tenants(cluster, kinds, setting):
                put(cluster, server.address, setting["name"], setting["value"], tenant)


def from_config(cluster: Cluster, kinds: Kinds, server: Server, config: dict[str, str]) -> None:
    """What a server's own configuration says, unless it has been changed since."""
    for name, value in config.items():
        if name not in kinds or name == "rootservice_list":
            continue
        tenant = SYS if kinds[name][0] == "TENANT" else 0
        fixed = kinds[name][1] == "READONLY"
        if fixed or _find(cluster, server.address, name, tenant) is None:
            put(cluster, server.address, name, value, tenant)
    put(cluster, server.address, "rootservice_list", cluster.root_servers, 0)


def put(cluster: Cluster, address: str, name: str, value: str, tenant: int) -> None:
    """Set one parameter of one server."""
    known = _find(cluster, address, name, tenant)
    if known is None:
        cluster.parameters.append(Parameter(address, tenant, name, value))
    else:
        known.value = value


def _find(cluster: Cluster, address: str, name: str, tenant: int) -> Parameter | None:
    wanted = address, name, tenant
    return next(
        (one for one in cluster.parameters if (one.address, one.name, one.tenant) == wanted), None
    )


def _servers(cluster: Cluster, setting: dict[str, str]) -> list[Server]:
    if "server" in setting:
        return [cluster.server(setting["server"])]
    if "zone" in setting:
        return list(cluster.servers_of(cluster.zone(setting["zone"]).name))
    return cluster.servers


def _tenants(cluster: Cluster, kinds: Kinds, setting: dict[str, str]) -> list[int]:
    name = setting.get("tenant")
    if kinds[setting["name"]][0] != "TENANT":
        if name not in (None, "sys"):
            raise invalid("tenant config")
        return [0]
    if name is None:
        return [SYS]
    if name.lower() in ("all", "all_user"):
        return [one.id for one in cluster.tenants if one.kind == "USER"]
    return [cluster.tenant(name).id]
