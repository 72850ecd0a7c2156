"""The envelope of every answer, and how moments are written."""

from __future__ import annotations

import operator
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, Field, PlainSerializer

T = TypeVar("T")

API_PREFIX = "/api/v1"
NANOSECONDS = 1_000_000_000


def rfc3339(nanoseconds: int) -> str:
    """A moment in the server's local offset, its fraction without trailing zeros."""
    seconds, fraction = divmod(nanoseconds, NANOSECONDS)
    local = datetime.fromtimestamp(seconds, UTC).astimezone()
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    offset = local.strftime("%z")
    zone = "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}"
    return f"{local:%Y-%m-%dT%H:%M:%S}{digits}{zone}"


Timestamp = Annotated[
    str | int,
    PlainSerializer(lambda value: rfc3339(value) if isinstance(value, int) else value, str),
    Field(description="RFC 3339 with the server's offset and up to nine fractional digits"),
]


class ApiError(BaseModel):
    """Why a request failed. ``code`` is an obsolete number, sent only where clients act on it."""

    code: int | None = None
    errCode: str
    message: str
    subErrors: list[Any] | None = None


class Envelope(BaseModel, Generic[T]):
    """What every answer with content is wrapped in; ``duration`` is in milliseconds."""

    successful: bool
    timestamp: Timestamp
    duration: int
    status: int
    traceId: str
    data: T | None = None
    error: ApiError | None = None


class Contents(BaseModel, Generic[T]):
    """The wrapping of every list."""

    contents: list[T]


class UnreachableAgent(BaseModel):
    """An agent that could not be asked, and why."""

    agent: str
    message: str


# Named only if there are any: existing clients know of none.
Unreached = Annotated[list[UnreachableAgent], Field(exclude_if=operator.not_)]
