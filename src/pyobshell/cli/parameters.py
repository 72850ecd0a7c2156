"""`obshell cluster parameters` and `set-parameter`: those of a distributed cluster."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyobshell.cli import output, place
from pyobshell.cli.options import BaseDir, Host, Json, Password, PasswordFile
from pyobshell.cli.outcome import CommandError, Exit, run

if TYPE_CHECKING:
    from pyobshell.wire import ClusterParameter


def parameters(
    pattern: Annotated[
        str, typer.Argument(metavar="[NAME]", help="A name, or a pattern such as 'memory*'.")
    ] = "*",
    base_dir: BaseDir = None,
    host: Host = None,
    password_file: PasswordFile = None,
    password: Password = None,
    as_json: Json = False,
) -> None:
    """List the parameters of a distributed cluster, and where their values differ."""

    async def work() -> None:
        where = place.locate(base_dir, host, password, password_file)
        async with where.client() as client:
            found = await client.parameters()
        chosen = [one for one in found if fnmatchcase(one.name, pattern.lower())]
        if not chosen:
            raise CommandError(Exit.FAILED, f"no parameter is called {pattern}")
        if as_json:
            output.print_json({"parameters": [one.model_dump(exclude_none=True) for one in chosen]})
        else:
            rows = [row for one in chosen for row in _rows(one)]
            output.print_table(["NAME", "VALUE", "WHERE", "DEFAULT"], rows)

    run(work(), as_json=as_json)


def set_parameter(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the parameter.")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="What it is to be.")],
    zone: Annotated[
        list[str] | None, typer.Option("--zone", help="Only in this zone; may be repeated.")
    ] = None,
    server: Annotated[
        list[str] | None,
        typer.Option("--server", metavar="IP:RPC", help="Only on this server; may be repeated."),
    ] = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option("--tenant", help="A parameter of this tenant; may be repeated."),
    ] = None,
    all_tenants: Annotated[
        bool, typer.Option("--all-tenants", help="A parameter of all users' tenants.")
    ] = False,
    base_dir: BaseDir = None,
    host: Host = None,
    password_file: PasswordFile = None,
    password: Password = None,
    as_json: Json = False,
) -> None:
    """Set a parameter of a distributed cluster: on all servers, or where the options say."""

    async def work() -> None:
        where = place.locate(base_dir, host, password, password_file)
        setting: dict[str, Any] = {
            "name": name,
            "value": value,
            "scope": "TENANT" if tenant or all_tenants else "CLUSTER",
            "zones": zone or [],
            "servers": server or [],
            "tenants": tenant or [],
            "all_user_tenant": all_tenants,
        }
        async with where.client() as client:
            await client.set_parameters([setting])
        if as_json:
            output.print_json({"set": setting})
        else:
            output.say(f"Done: {name} is {value}")

    run(work(), as_json=as_json)


def _rows(parameter: ClusterParameter) -> list[list[str]]:
    """One row where the value is the same everywhere, else one for each value."""
    places: dict[str, list[str]] = {value: [] for value in parameter.values or []}
    for one in parameter.ob_parameters:
        host = f"[{one.svr_ip}]" if ":" in one.svr_ip else one.svr_ip
        tenant = f" {one.tenant_name}" if one.tenant_name else ""
        places[one.value].append(f"{host}:{one.svr_port}{tenant}")
    default = parameter.default_value
    if parameter.is_single_value:
        return [[parameter.name, value, "everywhere", default] for value in places]
    return [[parameter.name, value, ", ".join(at), default] for value, at in places.items()]
