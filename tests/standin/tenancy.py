"""Tenants, resource pools and unit configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from standin import placement
from standin.cluster import SYS, Cluster, Job, Pool, Tenant, UnitConfig
from standin.errors import SqlError, invalid, zone_unknown

Args = dict[str, Any]
_FIRST_USER_TENANT = 1002
_DEFAULTS = {"max_cpu": "1", "min_cpu": "1", "memory_size": "1G", "log_disk_size": "2G"}
_SIZE_WORDS = {"lenient", "name"}


def execute(cluster: Cluster, verb: str, args: Args, text: str, recyclebin: bool) -> None:
    """Carry out a statement about tenants, pools or units."""
    if verb == "drop tenant":
        _drop_tenant(cluster, args, recyclebin)
        return
    handler = _HANDLERS.get(verb)
    if handler is None:
        raise invalid(verb)
    handler(cluster, args)
    kind = _JOBS.get(verb)
    for option in ("locality", "primary_zone"):
        kind = _JOBS[option] if verb == "alter tenant" and option in args else kind
    if kind is not None:
        tenant = cluster.tenant(args["name"]).id
        cluster.jobs.append(Job(cluster.new_id(), kind, tenant, text))


def _create_unit(cluster: Cluster, args: Args) -> None:
    if any(one.name == args["name"] for one in cluster.configs):
        if args["lenient"]:
            return
        raise SqlError(4649, f"resource unit '{args['name']}' already exist")
    cluster.configs.append(UnitConfig(cluster.new_id(), args["name"], _DEFAULTS | _sizes(args)))


def _alter_unit(cluster: Cluster, args: Args) -> None:
    _config(cluster, args["name"]).sizes.update(_sizes(args))


def _drop_unit(cluster: Cluster, args: Args) -> None:
    if args["lenient"] and not any(one.name == args["name"] for one in cluster.configs):
        return
    config = _config(cluster, args["name"])
    if any(pool.config == config.id for pool in cluster.pools):
        raise SqlError(4634, f"resource unit '{config.name}' is referenced by some resource pool")
    cluster.configs.remove(config)


def _create_pool(cluster: Cluster, args: Args) -> None:
    if any(one.name == args["name"] for one in cluster.pools):
        if args["lenient"]:
            return
        raise SqlError(4651, f"resource pool '{args['name']}' already exist")
    zones = args.get("zone_list") or [zone.name for zone in cluster.zones]
    for zone in zones:
        cluster.zone(zone)
    config = _config(cluster, args.get("unit", ""))
    number = args.get("unit_num", 1)
    pool = Pool(cluster.new_id(), args["name"], config.id, number, zones)
    placement.place_units(cluster, pool)
    cluster.pools.append(pool)


def _alter_pool(cluster: Cluster, args: Args) -> None:
    pool = cluster.pool(args["name"])
    if "unit" in args:
        pool.config = _config(cluster, args["unit"]).id
    before = pool.zones, pool.unit_num
    pool.zones = args.get("zone_list", pool.zones)
    pool.unit_num = args.get("unit_num", pool.unit_num)
    try:
        placement.place_units(cluster, pool)
    except SqlError:
        pool.zones, pool.unit_num = before
        raise
    if pool.tenant is not None:
        placement.place_streams(cluster, pool.tenant)


def _drop_pool(cluster: Cluster, args: Args) -> None:
    if args["lenient"] and not any(one.name == args["name"] for one in cluster.pools):
        return
    pool = cluster.pool(args["name"])
    if pool.tenant is not None:
        raise SqlError(4626, f"resource pool '{pool.name}' has already been granted to a tenant")
    cluster.pools.remove(pool)
    cluster.units = [unit for unit in cluster.units if unit.pool != pool.id]


def _create_tenant(cluster: Cluster, args: Args) -> None:
    if any(one.name == args["name"] for one in cluster.tenants):
        if args["lenient"]:
            return
        raise SqlError(5156, f"tenant already exist: {args['name']}")
    pools = [cluster.pool(name) for name in args.get("pools", [])]
    if not pools:
        raise SqlError(4647, "resource pool list is empty")
    for pool in pools:
        if pool.tenant is not None:
            raise SqlError(4626, f"resource pool '{pool.name}' has already been granted")
    number = max((one.id + 2 for one in cluster.tenants), default=0)
    number = max(number, _FIRST_USER_TENANT)
    number += number % 2
    zones = [zone for pool in pools for zone in pool.zones]
    tenant = Tenant(
        number,
        args["name"],
        "USER",
        args.get("primary_zone", "RANDOM"),
        args.get("locality") or placement.full_in(zones),
        unit_num=pools[0].unit_num,
        variables=args.get("variables", {}),
    )
    mode = tenant.variables.get("ob_compatibility_mode") or args.get("mode", "MYSQL")
    tenant.mode = str(mode).upper()
    meta = Tenant(number - 1, f"META${number}", "META", "RANDOM", tenant.locality)
    cluster.tenants += [meta, tenant]
    for pool in pools:
        pool.tenant = number
    placement.place_streams(cluster, number)


def _alter_tenant(cluster: Cluster, args: Args) -> None:
    tenant = cluster.tenant(args["name"])
    if "pools" in args:
        for pool in cluster.pools:
            if pool.name in args["pools"]:
                pool.tenant = tenant.id
            elif pool.tenant == tenant.id:
                pool.tenant = None
    if "locality" in args:
        _check_locality(cluster, tenant, args["locality"])
        tenant.locality = args["locality"]
    tenant.primary_zone = args.get("primary_zone", tenant.primary_zone)
    tenant.variables.update(args.get("variables", {}))
    if args.get("lock") or args.get("unlock"):
        tenant.locked = bool(args.get("lock"))
    if "pools" in args or "locality" in args:
        placement.place_streams(cluster, tenant.id)
    if "rename" in args:
        if any(one.name == args["rename"] for one in cluster.tenants):
            raise SqlError(5156, f"tenant already exist: {args['rename']}")
        tenant.name = args["name"] = args["rename"]


def _alter_unit_number(cluster: Cluster, args: Args) -> None:
    tenant = cluster.tenant(args["name"])
    for pool in cluster.pools:
        if pool.tenant == tenant.id:
            before, pool.unit_num = pool.unit_num, args["unit_num"]
            try:
                placement.place_units(cluster, pool)
            except SqlError:
                pool.unit_num = before
                raise
    tenant.unit_num = args["unit_num"]
    placement.place_streams(cluster, tenant.id)


def _drop_tenant(cluster: Cluster, args: Args, recyclebin: bool) -> None:
    if args["lenient"] and not any(one.name == args["name"] for one in cluster.tenants):
        return
    tenant = cluster.tenant(args["name"])
    if tenant.id == SYS:
        raise SqlError(4179, "drop sys tenant not allowed")
    if recyclebin and not args.get("force") and not args.get("purge"):
        tenant.recycled = True
        tenant.variables["standin_name"] = tenant.name
        tenant.name = f"RECYCLE_$_{cluster.id}_{tenant.id}"
        return
    _remove_tenant(cluster, tenant)


def _purge_tenant(cluster: Cluster, args: Args) -> None:
    tenant = cluster.tenant(args["name"])
    if not tenant.recycled:
        raise SqlError(5352, f"object not in recyclebin: {tenant.name}")
    _remove_tenant(cluster, tenant)


def _flashback_tenant(cluster: Cluster, args: Args) -> None:
    tenant = next(
        (
            one
            for one in cluster.tenants
            if one.recycled and args["name"] in (one.name, one.variables["standin_name"])
        ),
        None,
    )
    if tenant is None:
        raise SqlError(5352, f"object not in recyclebin: {args['name']}")
    tenant.recycled = False
    tenant.name = args["name"] = args.get("rename", tenant.variables.pop("standin_name"))


def _remove_tenant(cluster: Cluster, tenant: Tenant) -> None:
    gone = (tenant.id, tenant.id - 1)
    cluster.tenants = [one for one in cluster.tenants if one.id not in gone]
    cluster.streams = [one for one in cluster.streams if one.tenant not in gone]
    for pool in cluster.pools:
        if pool.tenant == tenant.id:
            pool.tenant = None


def _check_locality(cluster: Cluster, tenant: Tenant, locality: str) -> None:
    has_units = {unit.zone for unit in cluster.units_of(tenant.id)}
    for part in locality.split(","):
        zone = cluster.zone(part.strip().partition("@")[2])
        if zone.name not in has_units:
            raise SqlError(4179, f"no resource pool of the tenant in zone {zone.name}, not allowed")
    if not any(part.strip().upper().startswith("F") for part in locality.split(",")):
        raise zone_unknown()


def _config(cluster: Cluster, name: str) -> UnitConfig:
    for config in cluster.configs:
        if config.name == name:
            return config
    raise SqlError(4648, f"resource unit '{name}' not exist")


def _sizes(args: Args) -> dict[str, str]:
    return {key: value for key, value in args.items() if key not in _SIZE_WORDS}


_HANDLERS: dict[str, Callable[[Cluster, Args], None]] = {
    "create unit": _create_unit,
    "alter unit": _alter_unit,
    "drop unit": _drop_unit,
    "create pool": _create_pool,
    "alter pool": _alter_pool,
    "drop pool": _drop_pool,
    "create tenant": _create_tenant,
    "alter tenant": _alter_tenant,
    "alter unit number": _alter_unit_number,
    "purge tenant": _purge_tenant,
    "flashback tenant": _flashback_tenant,
}
_JOBS = {
    "alter unit number": "ALTER_RESOURCE_TENANT_UNIT_NUM",
    "locality": "ALTER_TENANT_LOCALITY",
    "primary_zone": "ALTER_TENANT_PRIMARY_ZONE",
}
