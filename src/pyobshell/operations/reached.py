"""Tells which agents could not be asked, and where to look for why, beside what others answered."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import ClusterView
from pyobshell.errors import OBShellError
from pyobshell.wire import UnreachableAgent


def pointing(view: ClusterView, agent: Address, error: OBShellError) -> OBShellError:
    """The error with which an agent was not reached, with the host and home where it is to be.

    Other errors, those of agents that are no members, and those in the words of another release
    are as they are.
    """
    member = view.member(agent)
    if error.code is not errors.RPC_REQUEST_FAILED or member is None or agent == view.own:
        return error
    if error.as_told is not None:
        return error
    home = shlex.quote(member.home_path)
    where = f"to see why, on {agent.ip}: obshell agent doctor --base-dir {home}"
    cause = str(error.arguments["cause"])
    if where in cause:
        return error
    return errors.RPC_REQUEST_FAILED(**error.arguments | {"cause": f"{cause}; {where}"})


def unreachable(view: ClusterView, answers: Mapping[Address, object]) -> list[UnreachableAgent]:
    """The agents among those asked whose answer is an error."""
    return [
        UnreachableAgent(agent=str(agent), message=str(pointing(view, agent, answer)))
        for agent, answer in answers.items()
        if isinstance(answer, OBShellError)
    ]


def is_lost(error: OBShellError) -> bool:
    """Whether an agent is out of reach, or can keep no record: nobody is to wait for it."""
    return error.code in (errors.RPC_REQUEST_FAILED, errors.STORE_UNAVAILABLE)
