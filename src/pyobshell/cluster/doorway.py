"""Lets the other agents in: opens sessions for those who prove themselves, runs what they ask."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.procedures import (
    Caller,
    Log,
    ProcedureTable,
    carry_out,
    error_to_wire,
    framed,
    parsed,
)
from pyobshell.cluster.state import ClusterState
from pyobshell.deadline import Deadline
from pyobshell.log import tracing
from pyobshell.security.keyring import Keyring, has_succeeded, read_successions
from pyobshell.security.peer import PeerSession, accept_hello
from pyobshell.security.turns import CryptoTurns, Sender

Site = TypeVar("Site")

_log = structlog.get_logger(__name__)
_LONGEST_LENGTH = 18  # digits
_SESSIONS = 4096
_GUEST_SESSIONS = 64
_LONGEST_CALL_S = 86400.0


@dataclass(slots=True)
class _Visitor:
    session: PeerSession
    address: Address
    public_key: str
    life: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A procedure that another agent asks for."""

    visitor: _Visitor
    name: str
    request: dict[str, Any]
    deadline: Deadline
    trace_id: str | None
    binding: bytes
    host: str
    known: bool


class Doorway(Generic[Site]):
    """Sessions opened by other agents; the least recently used one makes way for a new one."""

    def __init__(
        self,
        cluster: ClusterState,
        keyring: Keyring,
        procedures: ProcedureTable,
        site: Site,
        crypto: CryptoTurns,
    ) -> None:
        self._cluster = cluster
        self._keyring = keyring
        self._procedures = procedures
        self._site = site
        self._crypto = crypto
        self._members: OrderedDict[str, _Visitor] = OrderedDict()
        self._guests: OrderedDict[str, _Visitor] = OrderedDict()

    async def welcome(self, hello: Mapping[str, object], sender: Sender) -> str:
        """Open a session for who knocks; returns its id.

        Who is gone before it is his turn is not looked at.

        Raises ``Security.Authentication.IncorrectToken`` for a hello that proves nothing, and for
        one that speaks in the name of a member with another key than that member's, unless it
        proves as well that this is the successor of the member's.
        """
        own, key = self._cluster.view.own, self._keyring.key
        session, caller, claimed, life = await self._crypto.run(
            sender, 1, accept_hello, own, key, hello, time.time()
        )
        known = self._cluster.known_key(caller)
        if known is not None and known != claimed.text:
            successions = read_successions(hello.get("successions"))
            if not await self._crypto.run(
                sender, 1, has_succeeded, known, claimed.text, successions
            ):
                raise errors.INCORRECT_TOKEN(cause=f"{caller} is a member with another key")
            await self._cluster.learn_key(caller, known, claimed.text)
            _log.info("has another key", action="key.learn", agent=str(caller))
        if key is not self._keyring.key:
            raise errors.INCORRECT_TOKEN(cause="this agent has another key by now")
        visitors, most = (
            (self._guests, _GUEST_SESSIONS)
            if self._cluster.view.member(caller) is None
            else (self._members, _SESSIONS)
        )
        visitors[session.id] = _Visitor(session, caller, claimed.text, life)
        while len(visitors) > most:
            visitors.popitem(last=False)
        return session.id

    def is_members(self, session_id: str, name: str) -> bool:
        """Whether a session is that of a member; if not, anybody may have opened it.

        Raises ``Security.Peer.Session.Unknown`` if it is not known (any more), or
        ``Common.NotFound`` if the procedure is not either.
        """
        return self._is_member(self._visitor(session_id, name))

    def announced(self, session_id: str, name: str, announcement: str, binding: bytes) -> int:
        """How many bytes a frame has that is announced (base64) by who has the session's key.

        Raises as ``is_members``, and ``Security.Authentication.IncorrectToken`` if he has it not.
        """
        session = self._visitor(session_id, name).session
        try:
            sealed = base64.b64decode(announcement, validate=True)
        except ValueError:
            raise errors.INCORRECT_TOKEN(cause="what announces the frame is no base64") from None
        length = session.open(sealed, binding)
        if not (length.isdigit() and len(length) <= _LONGEST_LENGTH):
            raise errors.BAD_REQUEST(cause="what announces the frame is no length")
        return int(length)

    def open(self, session_id: str, name: str, frame: bytes, binding: bytes, host: str) -> Asked:
        """What a sealed frame asks for that came from a host, by its ip.

        Raises as ``is_members``, ``Security.Authentication.IncorrectToken`` for a frame that is
        not of the session, and ``Common.BadRequest`` for one that holds no request: anybody can be
        a guest.
        """
        visitor = self._visitor(session_id, name)
        opened = visitor.session.open(frame, binding)
        try:
            content = json.loads(opened)
            timeout_s = float(content["timeout_s"])
            request, trace_id = content["request"], content.get("trace_id")
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise errors.BAD_REQUEST(cause="the frame holds no request") from None
        if not timeout_s >= 0:  # nor is it NaN
            raise errors.BAD_REQUEST(cause="the time limit is none")
        return Asked(
            visitor,
            name,
            request,
            Deadline.after(min(timeout_s, _LONGEST_CALL_S)),
            str(trace_id) if trace_id else None,
            binding,
            host,
            self._cluster.knows(visitor.address, visitor.public_key),
        )

    async def run(self, asked: Asked, answer: Callable[[bytes], None]) -> None:
        """Run what was asked for; lines it logs and then its response are sealed for ``answer``."""

        def send(content: dict[str, Any]) -> None:
            sealed = asked.visitor.session.seal(json.dumps(content).encode(), asked.binding)
            answer(framed(sealed))

        with tracing(asked.trace_id) if asked.trace_id else contextlib.nullcontext():
            try:
                response = await self._run(asked, lambda line: send({"line": line}))
            except Exception as error:
                if not isinstance(error, errors.OBShellError):
                    _log.exception("procedure failed", action="rpc.error", procedure=asked.name)
                send({"error": error_to_wire(errors.coded(error))})
            else:
                send({"response": response})

    def sign_of_life(self, asked: Asked) -> bytes:
        """A frame that says that the work goes on."""
        content = json.dumps({"alive": True}).encode()
        return framed(asked.visitor.session.seal(content, asked.binding))

    async def _run(self, asked: Asked, log: Log) -> dict[str, Any]:
        visitor = asked.visitor
        procedure = self._procedures.get(asked.name)
        if procedure is None:
            raise errors.NOT_FOUND(method="POST", path=asked.name)
        if not asked.known and not procedure.for_guests:
            raise errors.INCORRECT_TOKEN(cause=f"{visitor.address} is not a member")
        who = (visitor.address, visitor.public_key, asked.known)
        caller = Caller(*who, asked.deadline, log, asked.host, visitor.life)
        request = parsed(procedure.request, asked.request)
        own = self._cluster.view.own
        response = await carry_out(procedure, self._site, own, caller, request)
        dumped: dict[str, Any] = response.model_dump(mode="json")
        return dumped

    def _is_member(self, visitor: _Visitor) -> bool:
        return self._cluster.knows(visitor.address, visitor.public_key)

    def forget_all(self) -> None:
        """Let go of all sessions: what they were opened with is not secret for ever."""
        self._members.clear()
        self._guests.clear()

    def _visitor(self, session_id: str, name: str) -> _Visitor:
        for visitors in (self._members, self._guests):
            if session_id not in visitors:
                continue
            visitor = visitors[session_id]
            if self._cluster.known_key(visitor.address) in (None, visitor.public_key):
                visitors.move_to_end(session_id)
                return visitor
            del visitors[session_id]  # it was opened with a key that has been given up
        if self._procedures.get(name) is None:
            raise errors.NOT_FOUND(method="POST", path=name)
        raise errors.PEER_SESSION_UNKNOWN()
