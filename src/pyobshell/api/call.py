"""One request on its way through the API: its trace id, its clock, and who made it."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request
from pydantic_core import to_json
from starlette.responses import Response

from pyobshell.address import Address
from pyobshell.api.door import Door
from pyobshell.errors import Language, OBShellError
from pyobshell.security.verify import Credentials
from pyobshell.wire import NANOSECONDS, rfc3339

if TYPE_CHECKING:
    from pyobshell.api.recording import Recording

TRACE_HEADER = "x-obshell-trace-id"
_CHINESE = re.compile(r"zh([-_][A-Za-z0-9]+)*", re.IGNORECASE)


@dataclass(slots=True)
class Call:
    """What is known of a request apart from what it asks.

    ``trusted`` requests came over the local socket, or were verified by a member that forwarded
    them; all others must carry ``credentials``. ``forwarder`` is the FOLLOWER that handed a request
    to its master. ``unreadable`` is what is wrong with the body, told to the rightful user alone:
    who has a recorded request must not learn from it. ``door`` is the one it came to with
    credentials, ``admitted_as`` whose they are, once they were right in the eyes of the judge
    ``admitted_by``. ``beside`` are further
    credentials, which let nobody in. ``recording`` is for what this agent was asked by a client,
    and may change.
    """

    target: str
    trace_id: str
    language: Language = "en"
    trusted: bool = False
    forwarder: Address | None = None
    credentials: Credentials | None = None
    beside: tuple[Credentials, ...] = ()
    unreadable: OBShellError | None = None
    door: Door | None = None
    admitted_as: str = ""
    admitted_by: object = None
    recording: Recording | None = None
    begun: int = field(default_factory=time.monotonic_ns)

    @classmethod
    def of(cls, headers: dict[str, str], target: str, *, trusted: bool) -> Call:
        """The call that a request's headers make."""
        return cls(
            target=target,
            trace_id=headers.get(TRACE_HEADER) or secrets.token_hex(8),
            language=_language(headers.get("accept-language", "")),
            trusted=trusted,
        )

    @property
    def local(self) -> bool:
        """Whether it came over this agent's own socket."""
        return self.trusted and self.forwarder is None

    def answer(self, data: Any = None) -> Response:
        """Success, with data."""
        return self._respond(200, {} if data is None else {"data": data})

    def contents(self, items: list[Any]) -> Response:
        """Success, with a list."""
        return self.answer({"contents": items})

    def nothing(self) -> Response:
        """Success, without content."""
        return Response(status_code=204)

    def failure(self, error: OBShellError) -> Response:
        """The error in the language the client asked for."""
        described: dict[str, Any] = {"code": error.code.number} if error.code.number else {}
        described |= {"errCode": error.code.name, "message": error.text(self.language)}
        return self._respond(error.code.status, {"data": None, "error": described})

    def _respond(self, status: int, rest: dict[str, Any]) -> Response:
        envelope = {
            "successful": status < 400,
            "timestamp": rfc3339(time.time_ns()),
            "duration": (time.monotonic_ns() - self.begun) * 1000 // NANOSECONDS,
            "status": status,
            "traceId": self.trace_id,
            **rest,
        }
        return Response(to_json(envelope), status, media_type="application/json")


def _language(tag: str) -> Language:
    """OBShell reads one language tag; a list as browsers send it counts as English."""
    return "zh" if _CHINESE.fullmatch(tag.strip()) else "en"


def call_of(request: Request) -> Call:
    """The call a request belongs to."""
    call: Call = request.scope["call"]
    return call


CallDep = Annotated[Call, Depends(call_of)]
