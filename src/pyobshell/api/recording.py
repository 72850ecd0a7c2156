"""Puts a request for a change on record before it is carried out, and then how it was answered.

It is recorded by the agent that was asked: one that another agent hands on is on record there.
What cannot be recorded is refused.
"""

from __future__ import annotations

import json
import time
from typing import Any

import structlog
from pydantic import ValidationError
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pyobshell import errors
from pyobshell.api.call import Call
from pyobshell.api.local_caller import UserNames, local_caller
from pyobshell.api.masking import masked_body, masked_target
from pyobshell.requests import StopRequest
from pyobshell.store.audit import AuditLog, Entry, Outcome
from pyobshell.tasks.ids import GenericId
from pyobshell.wire import API_PREFIX

LOCAL = "local"
_log = structlog.get_logger(__name__)
_READING = ("GET", "HEAD", "OPTIONS")
_CHECK, _STOP = "/ob/zone/{zone}/stop/check", "/ob/stop"
_DAG = "/task/dag/{id}"
_LONGEST_TRACE_ID = 64
_LONGEST_WHO = 128


class Recorder:
    """ASGI middleware between gateway and routes: what passes it can be recorded."""

    def __init__(self, app: ASGIApp, audit: AuditLog) -> None:
        self._app = app
        self._audit = audit
        self._names = UserNames()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["method"] not in _READING:
            recording = Recording(self._audit, self._names, scope["call"])
            scope["call"].recording = recording
            send = recording.watching(send)
        await self._app(scope, receive, send)


class Recording:
    """The record of one request, if it comes to that."""

    def __init__(self, audit: AuditLog, names: UserNames, call: Call) -> None:
        self._audit = audit
        self._names = names
        self._call = call
        self._number: int | None = None
        self._status = 0
        self._answer = b""

    async def begin(self, request: Request, who: str) -> None:
        """Record a request that was let in, unless it certainly changes nothing.

        Raises ``Agent.Audit.NotRecorded``: then it must not be carried out.
        """
        body = await request.body()
        route = _route(request)
        if self._number is not None or _changes_nothing(route, body):
            return
        caller = local_caller(request.scope) if self._call.trusted else None
        entry = Entry(
            moment=time.time_ns(),
            trace_id=_whole(self._call.trace_id)[:_LONGEST_TRACE_ID],
            who=(who if caller is None else await self._names.of(caller.uid))[:_LONGEST_WHO],
            uid=None if caller is None else caller.uid,
            pid=None if caller is None else caller.pid,
            client=_client(self._call, request),
            method=request.method,
            path=masked_target(self._call.target),
            body=masked_body(body),
            dag_id=_operated(route, request),
        )
        try:
            self._number = await self._audit.enter(entry)
        except Exception as error:
            coded = errors.coded(error)
            cause = str(coded.arguments.get("cause", error))
            _log.error("not recorded", action="audit.enter", cause=cause)
            if coded.code is errors.STORE_UNAVAILABLE:
                raise coded from error  # it names the file, and what to do
            raise errors.AUDIT_NOT_RECORDED(cause=cause) from error

    def watching(self, send: Send) -> Send:
        """What sends the answer on, and takes note of it if there is a record."""

        async def watched(message: Message) -> None:
            if self._number is not None:
                self._see(self._number, message)
            await send(message)

        return watched

    def _see(self, number: int, message: Message) -> None:
        self._status = message.get("status", self._status)
        self._answer += message.get("body", b"")
        if message["type"] == "http.response.body" and not message.get("more_body"):
            taken_ns = time.monotonic_ns() - self._call.begun
            code, dag_id = _told(self._answer)
            outcome = Outcome(
                status=self._status,
                error_code=code,
                dag_id=dag_id,
                duration_ms=max(0, taken_ns // 1_000_000),
            )
            self._audit.complete(number, outcome)


def _route(request: Request) -> str:
    """The route as it was declared, its parameters in braces, below the API's prefix."""
    path: str = request.scope["route"].path
    return path.removeprefix(API_PREFIX)


def _changes_nothing(route: str, body: bytes) -> bool:
    return route == _CHECK or (route == _STOP and _is_preview(body))


def _is_preview(body: bytes) -> bool:
    """Whether the route, which reads the body in just this way, will take it for a preview."""
    try:
        return StopRequest.model_validate(json.loads(body)).dryRun
    except (ValidationError, ValueError, RecursionError):
        return False


def _operated(route: str, request: Request) -> str | None:
    """The DAG that an operator is for."""
    task_id = request.path_params.get("id", "")
    if route != _DAG:
        return None
    try:
        return str(GenericId.parse(task_id))
    except errors.OBShellError:
        return None


def _client(call: Call, request: Request) -> str:
    if call.trusted:
        return LOCAL
    return request.client.host if request.client else ""


def _told(answer: bytes) -> tuple[str | None, str | None]:
    """The error code and the DAG's generic id that an answer has."""
    try:
        envelope: Any = json.loads(answer) if answer else {}
        code = (envelope.get("error") or {}).get("errCode")
        data = envelope.get("data")
    except (ValueError, AttributeError):
        return None, None
    is_dag = isinstance(data, dict) and "dag_id" in data
    return code, data["id"] if is_dag else None


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
