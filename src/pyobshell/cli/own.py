"""`obshell agent password` and `rotate-key`: what is an agent's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from pyobshell.cli import output, place, secrets
from pyobshell.cli.options import AgentPasswordFile, BaseDir, Host, Json, PasswordFile
from pyobshell.cli.outcome import CommandError, Exit, run

KeyBits = Annotated[
    Literal["2048", "3072", "4096"], typer.Option("--key-bits", help="Length of the new key.")
]
NewPasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--new-password-file",
        metavar="FILE",
        help="File with the password that is to be. Else $OB_NEW_AGENT_PASSWORD, else you are "
        "asked.",
    ),
]


def password(
    new_password_file: NewPasswordFile = None,
    base_dir: BaseDir = None,
    host: Host = None,
    agent_password_file: AgentPasswordFile = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Give the agent a password of its own, or another one.

    On its own host that needs no other password: a forgotten one is replaced so. With --host the
    present one is needed; an agent that has none wants root@sys's if it is in a cluster.
    """

    async def work() -> None:
        environment = secrets.take_from_environment(secrets.NEW_OF_AGENT)
        where = _where(base_dir, host, agent_password_file, password_file)
        new = secrets.find_password(None, new_password_file, environment)
        if new is None:
            hint = f"give --new-password-file, or set {secrets.NEW_OF_AGENT}"
            new = secrets.ask_password("the agent, to be set", hint, twice=True)
        if not new:
            raise CommandError(Exit.USAGE, "the agent password cannot be empty")
        async with where.client() as client:
            await client.set_agent_password(new)
        if as_json:
            output.print_json({"set": True})
        else:
            output.say("The agent password is set")

    run(work(), as_json=as_json)


def rotate_key(
    key_bits: KeyBits = "2048",
    base_dir: BaseDir = None,
    host: Host = None,
    agent_password_file: AgentPasswordFile = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Give the agent a new private key, and destroy the old one.

    Clients fetch the new one by themselves, tasks go on. A member that cannot be reached learns it
    when it is back. Then make a new backup of the agent's files: an old one has the old key.
    """

    async def work() -> None:
        where = _where(base_dir, host, agent_password_file, password_file)
        async with where.client() as client:
            rotated = await client.rotate_key(int(key_bits))
        if as_json:
            output.print_json(rotated.model_dump())
            return
        output.say(f"The agent has a new key of {rotated.key_bits} bits")
        for one in rotated.unreachable:
            output.say(f"{one.agent} learns it later: {one.message}")

    run(work(), as_json=as_json)


def _where(
    base_dir: Path | None,
    host: str | None,
    agent_password_file: Path | None,
    password_file: Path | None,
) -> place.Place:
    """The agent that the options mean, with its agent password if a file of that is given."""
    if agent_password_file is None:
        return place.locate(base_dir, host, None, password_file)
    of_agent = secrets.find_password(None, agent_password_file, None)
    where = place.locate(base_dir, host, None, password_file, ask=False)
    return replace(where, password="", agent_password=of_agent)
