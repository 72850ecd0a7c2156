"""Tells which agents could not be asked, beside what the others have answered."""

from __future__ import annotations

from collections.abc import Mapping

from pyobshell.address import Address
from pyobshell.errors import OBShellError
from pyobshell.wire import UnreachableAgent


def unreachable(answers: Mapping[Address, object]) -> list[UnreachableAgent]:
    """The agents among those asked whose answer is an error."""
    return [
        UnreachableAgent(agent=str(agent), message=str(answer))
        for agent, answer in answers.items()
        if isinstance(answer, OBShellError)
    ]
