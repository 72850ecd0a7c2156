"""Procedures: what one agent may ask of another, declared once for both sides.

A procedure is a decorated coroutine ``(site, caller, request) -> response`` with typed models.
The answering agent runs it; the asking agent names the same object to ``Peers.call``. An error it
raises arrives at the asking side as the same error, and what it logs arrives line by line.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import BaseModel, ValidationError

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.deadline import Deadline
from pyobshell.errors import ErrorCode, OBShellError
from pyobshell.security.keyring import life_of

Site = TypeVar("Site")
Req = TypeVar("Req", bound=BaseModel)
Res = TypeVar("Res", bound=BaseModel)
M = TypeVar("M", bound=BaseModel)


Log = Callable[[str], None]


class Nothing(BaseModel):
    """A request or response without content."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a member, or an agent that is none yet (``member`` False), and until when.

    ``log`` takes a line for the asking side, which reads it at once. ``host`` is the ip that it
    asks from, whatever address it gives. ``life`` tells it from an agent at that address that was
    made anew.
    """

    address: Address
    public_key: str
    member: bool
    deadline: Deadline
    log: Log
    host: str = ""
    claimed_life: str = ""

    @property
    def life(self) -> str:
        """The life that it lives, which begins with its first key."""
        return self.claimed_life or life_of(self.public_key)


@dataclass(frozen=True, slots=True)
class Procedure(Generic[Site, Req, Res]):
    """A name, the models of request and response, and the handler."""

    name: str
    request: type[Req]
    response: type[Res]
    handler: Callable[[Site, Caller, Req], Awaitable[Res]]
    for_guests: bool = False


def procedure(
    name: str, *, for_guests: bool = False
) -> Callable[[Callable[[Site, Caller, Req], Awaitable[Res]]], Procedure[Site, Req, Res]]:
    """Declare a procedure; ``for_guests`` lets agents call it that are not members."""

    def decorate(
        handler: Callable[[Site, Caller, Req], Awaitable[Res]],
    ) -> Procedure[Site, Req, Res]:
        hints = get_type_hints(handler)
        request = list(inspect.signature(handler).parameters)[2]
        return Procedure(name, hints[request], hints["return"], handler, for_guests)

    return decorate


async def carry_out(
    procedure: Procedure[Site, Req, Res], site: Site, own: Address, caller: Caller, request: Req
) -> Res:
    """Run a procedure at this agent, ``own``, no longer than its caller waits.

    Raises what it raises, or ``Agent.RPC.RequestFailed`` that says after how long it was given up.
    """
    deadline = caller.deadline
    try:
        async with asyncio.timeout(deadline.remaining()):
            return await procedure.handler(site, caller, request)
    except TimeoutError:
        if not deadline.has_rung():
            raise
        cause = f"it was not done within {deadline.seconds:.1f} s"
        raise errors.RPC_REQUEST_FAILED(agent=own, method=procedure.name, cause=cause) from None


def parsed(model: type[M], data: object) -> M:
    """What came from another agent; raises ``Common.BadRequest``, which says what does not fit but
    not what it was: it may be a secret.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        cause = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in faults)
        raise errors.BAD_REQUEST(cause=cause) from None


class ProcedureTable(dict[str, Procedure[Any, Any, Any]]):
    """Every procedure an agent answers, by name."""

    def __init__(self, procedures: Iterable[Procedure[Any, Any, Any]]) -> None:
        super().__init__({one.name: one for one in procedures})


# --- frames on a connection ---------------------------------------------------------------------

LENGTH_BYTES = 4


def framed(content: bytes) -> bytes:
    """A sealed frame with its length before it, as it goes onto the connection."""
    return len(content).to_bytes(LENGTH_BYTES) + content


# --- errors on their way between agents ----------------------------------------------------------


def error_to_wire(error: OBShellError) -> dict[str, Any]:
    """An error as data."""
    arguments = {
        name: value if isinstance(value, int | float) else str(value)
        for name, value in error.arguments.items()
    }
    return {"code": error.code.name, "arguments": arguments, "message": str(error)}


def error_from_wire(data: dict[str, Any], agent: Address, name: str) -> OBShellError:
    """The error that an agent answered; an unknown code becomes ``Agent.RPC.RequestError``.

    An agent of another release may have other arguments for a code than its text has here: then
    that agent's own text is told.
    """
    code, message = _catalogue().get(str(data.get("code"))), data.get("message")
    if code is None:
        return errors.RPC_REQUEST_ERROR(agent=agent, method=name, cause=message)
    given = data.get("arguments")
    arguments = given if isinstance(given, dict) else {}
    try:
        return OBShellError(code, arguments)
    except (LookupError, TypeError, ValueError):  # what filling in a text can raise
        return OBShellError(code, arguments, as_told=str(message or arguments))


def _catalogue() -> dict[str, ErrorCode]:
    return {code.name: code for code in vars(errors).values() if isinstance(code, ErrorCode)}
