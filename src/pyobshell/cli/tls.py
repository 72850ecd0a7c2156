"""`obshell agent gen-cert` and `reload-tls`: certificates for a cluster without another CA."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyobshell.cli import output, place
from pyobshell.cli.options import BaseDir, Json
from pyobshell.cli.outcome import CommandError, Exit, reporting, run

if TYPE_CHECKING:
    from pyobshell.security.certificates import Authority, Pair

_CA = "ca"
_CLIENT = "client"
_CLIENT_NAME = re.compile(r"[\w.@:+-]{1,64}")  # as long as X.509 takes for a common name
_DAYS, _MOST_DAYS = 365, 3650

Hosts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[HOST]…",
        help="The agents' addresses, as given to --ip; further names of one, each after a comma.",
        show_default=False,
    ),
]
Directory = Annotated[
    Path,
    typer.Option("--dir", metavar="DIR", help="Where the files are written, and the CA is kept."),
]
Clients = Annotated[
    list[str] | None,
    typer.Option(
        "--client",
        metavar="NAME",
        help="Make a certificate for a client; may be repeated. A new CA comes with one: client.",
    ),
]
Days = Annotated[
    int,
    typer.Option("--days", min=1, max=_MOST_DAYS, help="For how long; the CA lasts ten years."),
]
Renew = Annotated[
    bool, typer.Option("--renew", help="Replace certificates that are there, with new keys.")
]


def gen_cert(
    hosts: Hosts = None,
    directory: Directory = Path("certs"),
    clients: Clients = None,
    days: Days = _DAYS,
    renew: Renew = False,
    as_json: Json = False,
) -> None:
    """Make a private CA, and with it a certificate for each host's agent and for clients.

    A CA that is in the directory already is used. Nothing is overwritten without --renew, the CA
    never. Who has ca.key can make certificates that every agent accepts: keep it off the hosts.
    """
    with reporting(as_json=as_json):
        made = generate(
            directory.expanduser().absolute(), hosts or [], clients, days=days, renew=renew
        )
        if as_json:
            output.print_json({name: str(path) for name, path in made.items()})
            return
        for path in made.values():
            output.say(str(path))
        if hosts:
            _say_what_next(made, hosts[0].partition(",")[0])


def _say_what_next(made: dict[str, Path], host: str) -> None:
    ca, cert = shlex.quote(str(made["ca.crt"])), made[f"{_file_name(host)}.crt"]
    key = shlex.quote(str(cert.with_suffix(".key")))
    output.say(
        f"on {host}: obshell agent start --ip {host} --tls-cert {shlex.quote(str(cert))} "
        f"--tls-key {key} --tls-ca {ca}"
    )


def generate(
    directory: Path,
    hosts: list[str],
    clients: list[str] | None,
    *,
    days: int = _DAYS,
    renew: bool = False,
) -> dict[str, Path]:
    """Make what is asked for, as `gen-cert` does; returns the files by their names.

    Raises ``CommandError`` before anything is written.
    """
    from pyobshell.security.certificates import Authority

    ca = _kept_authority(directory)
    if clients is None:
        clients = [_CLIENT] if ca is None else []
    if not (hosts or clients):
        raise CommandError(Exit.USAGE, "name at least one host, or --client")
    authority = ca or Authority.make(f"obshell CA of {directory.name}")
    pairs: dict[str, Pair] = {}
    for host in hosts:
        names = [name.strip() for name in host.split(",") if name.strip()]
        if not names:
            raise CommandError(Exit.USAGE, f"'{host}' is no host")
        _add(pairs, names[0], _certified(authority, names, days))
    for client in clients:
        if not _CLIENT_NAME.fullmatch(client):
            raise CommandError(Exit.USAGE, f"'{client}' is no name for a client's certificate")
        _add(pairs, client, authority.for_client(client, days))
    files = {path for name in pairs for path in _paths(directory, name)}
    there = sorted(path.name for path in files if path.exists())
    if there and not renew:
        raise CommandError(
            Exit.USAGE,
            f"{', '.join(there)} in {directory}: there already; --renew replaces them",
        )
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = dict(zip(("ca.crt", "ca.key"), _paths(directory, _CA), strict=True))
    if ca is None:
        _write(directory, _CA, authority.pair)
    for name, pair in pairs.items():
        _write(directory, name, pair)
        made |= {path.name: path for path in _paths(directory, name)}
    return made


def _certified(authority: Authority, names: list[str], days: int) -> Pair:
    try:
        return authority.for_agent(names, days)
    except ValueError as error:
        raise CommandError(Exit.USAGE, f"{','.join(names)}: {error}") from None


def _add(pairs: dict[str, Pair], name: str, pair: Pair) -> None:
    file = _file_name(name)
    if file in pairs or file in ("", ".", "..", _CA) or "/" in file:
        raise CommandError(Exit.USAGE, f"'{name}' is given twice, or cannot name a file")
    pairs[file] = pair


def _file_name(name: str) -> str:
    return name.replace(":", "_")


def _kept_authority(directory: Path) -> Authority | None:
    """The CA in a directory, if there is one."""
    from pyobshell.security.certificates import Authority, Pair

    cert, key = _paths(directory, _CA)
    if not (cert.exists() or key.exists()):
        return None
    try:
        return Authority.of(Pair(cert.read_bytes(), key.read_bytes()))
    except FileNotFoundError as error:
        raise CommandError(
            Exit.USAGE, f"{error.filename} is missing, the CA is not whole"
        ) from None
    except ValueError as error:
        raise CommandError(Exit.USAGE, f"{cert}, {key}: no CA made here: {error}") from None


def _paths(directory: Path, name: str) -> tuple[Path, Path]:
    return directory / f"{name}.crt", directory / f"{name}.key"


def _write(directory: Path, name: str, pair: Pair) -> None:
    """Put both files in their place, the key for its owner alone."""
    from pyobshell.whole_file import replace_file

    cert, key = _paths(directory, name)
    replace_file(key, pair.key)
    replace_file(cert, pair.certificate)
    os.chmod(cert, 0o644)  # noqa: PTH101 - it is no secret


def reload_tls(base_dir: BaseDir = None, as_json: Json = False) -> None:
    """Have the agent on this host read its certificate, key and CA anew, without a restart.

    What cannot be used is refused, and the agent goes on with what it has.
    """

    async def work() -> None:
        async with place.locate(base_dir).client() as client:
            shown = await client.call("POST", "/agent/tls/reload", {})
        if as_json:
            output.print_json(shown)
        else:
            output.say(f"The agent's certificate is good until {shown['notAfter']}")
            output.say(f"SHA-256 {shown['sha256']}")

    run(work(), as_json=as_json)
