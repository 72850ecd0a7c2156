"""How servers that were started become one cluster: bootstrapped, all of them in, with a store.

Only servers of a kind that forms clusters go through this; a seekdb is whole by itself.
"""

from __future__ import annotations

from pydantic import BaseModel

from pyobshell.address import Address
from pyobshell.cluster.model import ClusterView
from pyobshell.deadline import Deadline
from pyobshell.engines.ob_cluster import ObCluster
from pyobshell.errors import OBShellError
from pyobshell.operations import service
from pyobshell.operations.site import Run, Site, require_cluster
from pyobshell.tasks.model import Ability
from pyobshell.tasks.stage import stage

_BOOTSTRAP_S = 1000.0  # what OBShell gives it


class Making(BaseModel):
    """Parameters of ``Initialize cluster``."""

    members: list[Address]
    sealed_proxyro_password: str | None = None


@stage("Cluster boostrap", Ability.BOTH_WAYS)
async def bootstrap(run: Run, making: Making) -> None:
    """Make a cluster of the first server of each zone, add the others, and see all of them serve.

    Run again it goes on where it was: BOOTSTRAP is carried out once in a cluster's life.
    """
    site, cluster = run.site, require_cluster(run.site)
    deadline = run.deadline.within(_BOOTSTRAP_S)
    wanted = {server: zone for zone, server in _places(site)}
    first = first_of_zones(site.cluster.view)
    if await _is_born(cluster, deadline):
        run.log("BOOTSTRAP has been carried out already")
    else:
        named = ", ".join(f"{server} ({zone})" for zone, server in first)
        run.log(f"BOOTSTRAP with {named}")
        await cluster.bootstrap(first, deadline)
    known = {row.address for row in await cluster.servers(deadline)}
    for server, zone in wanted.items():
        if server not in known:
            run.log(f"adding {server} to zone {zone}")
            await cluster.add_server(server, zone, deadline)
    await service.until_in_service(site, set(wanted), run.log, deadline)


async def _is_born(cluster: ObCluster, deadline: Deadline) -> bool:
    try:
        await cluster.servers(deadline)
    except OBShellError:
        return False  # before BOOTSTRAP there is no view at all
    return True


def _places(site: Site) -> list[tuple[str, Address]]:
    return [(member.zone, member.server) for member in site.cluster.view.members]


def first_of_zones(view: ClusterView) -> list[tuple[str, Address]]:
    """The root servers to be: the leading agent's server, and the first of each other zone."""
    first: dict[str, Address] = {}
    mine = [member for member in view.members if member.address == view.own]
    for member in [*mine, *view.members]:
        first.setdefault(member.zone, member.server)
    return list(first.items())


@stage("Migrate table", Ability.BOTH_WAYS)
async def migrate_table(run: Run, making: Making) -> None:
    """Make the database of the cluster's own tasks and members."""
    await run.site.require_ocs().create()
    run.log("Database ocs has its tables")


@stage("Migrate data", Ability.BOTH_WAYS)
async def migrate_data(run: Run, making: Making) -> None:
    """Write down the members, for all agents to read from now on."""
    members = run.site.cluster.view.members
    await run.site.require_ocs().write_members(members)
    run.log(f"The cluster knows its {len(members)} members")


STAGES = (bootstrap, migrate_table, migrate_data)
