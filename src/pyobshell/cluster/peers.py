"""Speaks with the other agents: one session for each pair, kept connections, bounded waits.

Within a session every request and answer is sealed and counted, so RSA is paid once for a pair of
agents and not for each request. A session that the peer has lost is opened again, once.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from itertools import starmap
from typing import Any, Generic, TypeVar

import aiohttp
from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.answers import data_of, read_answer, read_little, refusal_of
from pyobshell.cluster.exchange import (
    ANNOUNCEMENT_HEADER,
    RPC_PREFIX,
    SESSION_HEADER,
    SESSION_PATH,
    UNANNOUNCED,
    announcement_binding,
    frame_binding,
)
from pyobshell.cluster.procedures import (
    Caller,
    Log,
    Procedure,
    carry_out,
    error_from_wire,
    parsed,
)
from pyobshell.cluster.roads import Roads, why
from pyobshell.cluster.silence import Silence
from pyobshell.cluster.state import ClusterState
from pyobshell.deadline import Deadline
from pyobshell.log import current_trace
from pyobshell.security.keyring import (
    Keyring,
    has_succeeded,
    read_successions,
    write_successions,
)
from pyobshell.security.keys import PublicKey
from pyobshell.security.peer import PeerSession, make_hello
from pyobshell.security.tls import Tls
from pyobshell.wire import API_PREFIX

Site = TypeVar("Site")
Req = TypeVar("Req", bound=BaseModel)
Res = TypeVar("Res", bound=BaseModel)

_CONNECT_TIMEOUT_S = 3.0
LONGEST_SILENCE_S = 15.0
_KEEPALIVE_S = 60.0
_GRACE_S = 2.0  # an answer may be on its way when the peer's own deadline strikes
_CONCURRENT_CALLS = 64
_FIRST_PAUSE_S = 0.1
_MOST_KEYS = 3  # that are changed while one session is opened


def ignore(line: str) -> None:
    """Where lines go that nobody wants to read."""


# A session, its scheme, and the keys (their texts) it was opened with: this agent's, the peer's.
_Opened = tuple[PeerSession, str, str, str]


class Peers(Generic[Site]):
    """The other agents, as this one can call them."""

    def __init__(
        self,
        cluster: ClusterState,
        keyring: Keyring,
        site: Site,
        retry_s: float,
        silent_s: float,
        tls: Tls | None = None,
    ) -> None:
        self._roads = Roads(tls)
        self._retry_s = retry_s
        self._silence = Silence(silent_s)
        self._cluster = cluster
        self._keyring = keyring
        self._site = site
        self._sessions: dict[Address, _Opened] = {}
        self._opening: dict[Address, asyncio.Lock] = {}
        self._met: dict[Address, str] = {}  # the key of each, as text
        self._bound = asyncio.Semaphore(_CONCURRENT_CALLS)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=_KEEPALIVE_S, socket_factory=self._roads.a_socket
            )
        )

    async def call(
        self,
        peer: Address,
        procedure: Procedure[Site, Req, Res],
        request: Req,
        deadline: Deadline,
        log: Log = ignore,
        *,
        again: bool = False,
        until_met: bool = False,
        if_there: bool = False,
    ) -> Res:
        """Have ``peer`` run a procedure; this agent's own procedures run in place.

        ``log`` takes the lines that the procedure logs, as they come. ``again`` is for what may be
        asked twice: for a few seconds it is, if the peer is out of reach, for it may be starting.
        ``until_met`` is for a peer that may be joining: for as long it is asked again if this agent
        is a stranger to it, and not its master yet. ``if_there`` is for what goes on without the
        peer: it is given up as soon as it is silent, and asked only once if it was out of reach a
        moment ago.

        Raises what the procedure raised, or ``Agent.RPC.RequestFailed`` when the peer cannot be
        reached or does not answer by the deadline.
        """
        if peer == self._cluster.view.own:
            who = (peer, self._keyring.public_text, True)
            caller = Caller(*who, deadline, log, claimed_life=self._keyring.life)
            return await carry_out(procedure, self._site, peer, caller, request)
        begun = time.monotonic()
        retry = deadline.within(self._retry_s)
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return await self._call(peer, procedure, request, deadline, log, if_there)
            except errors.OBShellError as error:
                is_away = error.code is errors.RPC_REQUEST_FAILED
                wanted = again if is_away else until_met and error.code is errors.INCORRECT_TOKEN
                if not wanted or (if_there and self._silence.lasts(peer)):
                    raise
                if retry.passed():
                    if is_away:
                        self._silence.missed(peer, begun)
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads the calls
            pause *= 2

    async def _call(
        self,
        peer: Address,
        procedure: Procedure[Site, Req, Res],
        request: Req,
        deadline: Deadline,
        log: Log,
        if_there: bool,
    ) -> Res:
        body = {
            "timeout_s": deadline.remaining(),
            "trace_id": current_trace(),
            "request": request.model_dump(mode="json"),
        }
        try:
            async with asyncio.timeout(deadline.remaining() + _GRACE_S):
                asking = self._exchange(peer, RPC_PREFIX + procedure.name, body, log)
                answer = await (self._silence.broken(peer, asking) if if_there else asking)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            cause = why(error) or f"no answer within {deadline.seconds:.1f} s"
            raise errors.RPC_REQUEST_FAILED(
                agent=peer, method=procedure.name, cause=cause
            ) from error
        if "error" in answer:
            raise error_from_wire(answer["error"], peer, procedure.name)
        return parsed(procedure.response, answer["response"])

    async def call_any(
        self,
        peers: Iterable[Address],
        procedure: Procedure[Site, Req, Res],
        request: Req,
        timeout_s: float,
    ) -> Res:
        """Ask one agent after the other until one answers, each that is there for so many seconds.

        Raises what the last one raised, or ``Agent.RPC.RequestFailed`` if there is none.
        """
        failure = errors.RPC_REQUEST_FAILED(
            agent="any other agent", method=procedure.name, cause="there is none"
        )
        for peer in peers:
            try:
                patience = Deadline.after(timeout_s)
                return await self.call(peer, procedure, request, patience, if_there=True)
            except errors.OBShellError as error:
                failure = error
        raise failure

    async def call_all(
        self,
        peers: Iterable[Address],
        procedure: Procedure[Site, Req, Res],
        request: Req,
        deadline: Deadline,
        log: Log = ignore,
        *,
        if_there: bool = False,
    ) -> dict[Address, Res | errors.OBShellError]:
        """Ask the same of several agents at once, as :meth:`call_each`."""
        requests = dict.fromkeys(peers, request)
        return await self.call_each(requests, procedure, deadline, log, if_there=if_there)

    async def call_each(
        self,
        requests: Mapping[Address, Req],
        procedure: Procedure[Site, Req, Res],
        deadline: Deadline,
        log: Log = ignore,
        *,
        again: bool = False,
        if_there: bool = False,
    ) -> dict[Address, Res | errors.OBShellError]:
        """Have several agents run a procedure at once, each with its own request.

        Failures stand beside successes. ``log`` takes the lines they log, each with its agent
        before it.
        """

        async def one(peer: Address, request: Req) -> Res | errors.OBShellError:
            def told(line: str) -> None:
                log(f"{peer} {line}")

            how = {"again": again, "if_there": if_there}
            async with self._bound:
                try:
                    return await self.call(peer, procedure, request, deadline, told, **how)
                except errors.OBShellError as error:
                    return error

        results = await asyncio.gather(*starmap(one, requests.items()))
        return dict(zip(requests, results, strict=True))

    async def public_key(self, peer: Address) -> PublicKey:
        """A member's key from the member table, else as it was met with, or as it gives itself."""
        known = self._known_key(peer)
        if known is None:
            known = (await self.ask(peer, f"{API_PREFIX}/secret"))["public_key"]
        return PublicKey.from_text(known)

    def _known_key(self, peer: Address) -> str | None:
        member = self._cluster.view.member(peer)
        return self._met.get(peer) if member is None else member.public_key

    def meet(self, peer: Address, public_key: str) -> None:
        """Take an agent that is no member for no other than the one with that key.

        It may be spoken to; to be listened to it must be a member.
        """
        known = PublicKey.from_text(public_key).text
        if self._met.get(peer) != known:
            self._met[peer] = known
            if self._cluster.view.member(peer) is None:
                self.forget(peer)

    async def ask(self, peer: Address, path: str) -> dict[str, Any]:
        """Data of one of the API's open routes at another agent."""
        limit = aiohttp.ClientTimeout(total=_CONNECT_TIMEOUT_S)

        async def get(scheme: str) -> tuple[int, bytes]:
            url, tls = f"{scheme}://{peer}{path}", self._roads.context
            asking = self._http.get(url, ssl=tls, timeout=limit, allow_redirects=False)
            async with asking as response:
                self._silence.heard(peer)
                return response.status, await read_little(response.content)

        try:
            status, content = await self._roads.find(peer, get)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            cause = why(error) or type(error).__name__
            raise errors.RPC_REQUEST_FAILED(agent=peer, method=path, cause=cause) from error
        if status != HTTPStatus.OK:
            cause = refusal_of(status, content)
            raise errors.RPC_REQUEST_FAILED(agent=peer, method=path, cause=cause)
        return data_of(peer, path, content)

    def forget(self, peer: Address) -> None:
        """Let go of the session with a peer, whose key may have changed."""
        self._sessions.pop(peer, None)

    def forget_all(self) -> None:
        """Let go of all sessions; the next ones are opened with the key as it is then."""
        self._sessions.clear()

    async def proven_key(self, peer: Address) -> PublicKey:
        """The key with which a peer has shown that it is itself: the known one, or its successor.

        Raises ``Agent.RPC.RequestFailed`` if it cannot be reached, or shows nothing.
        """
        try:
            await self._session(peer)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            cause = str(error) or type(error).__name__
            raise errors.RPC_REQUEST_FAILED(agent=peer, method=SESSION_PATH, cause=cause) from error
        return await self.public_key(peer)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def _exchange(
        self, peer: Address, path: str, body: dict[str, Any], log: Log
    ) -> dict[str, Any]:
        binding = frame_binding("POST", path)
        for _ in range(2):
            session, scheme, *_ = opened = await self._session(peer)
            frame = session.seal(json.dumps(body).encode(), binding)
            headers = {SESSION_HEADER: session.id}
            if len(frame) > UNANNOUNCED:
                length = session.seal(b"%d" % len(frame), announcement_binding(binding))
                headers[ANNOUNCEMENT_HEADER] = base64.b64encode(length).decode("ascii")
            more = self._how(scheme) | {"headers": headers}
            try:
                async with self._http.post(f"{scheme}://{peer}{path}", data=frame, **more) as said:
                    self._silence.heard(peer)
                    if said.status == HTTPStatus.OK:
                        return await read_answer(said.content, session, binding, log)
                    cause = refusal_of(said.status, await read_little(said.content))
            except aiohttp.ClientConnectorSSLError as error:
                cause = why(error)  # it may speak no TLS any more: a new session finds that out
            if self._sessions.get(peer) is opened:
                self.forget(peer)
        raise errors.RPC_REQUEST_FAILED(agent=peer, method=path, cause=cause)

    def _how(self, scheme: str) -> dict[str, Any]:
        """With what TLS and which limits a request is made, which goes nowhere else."""
        tls = self._roads.context
        return {"ssl": tls, "timeout": _limit(scheme), "allow_redirects": False}

    async def _session(self, peer: Address) -> _Opened:
        async with self._opening.setdefault(peer, asyncio.Lock()):
            for _ in range(_MOST_KEYS):
                opened, known = self._sessions.get(peer), self._known_key(peer)
                if opened is not None:
                    *_, own_key, peer_key = opened
                    if own_key == self._keyring.public_text and known in (None, peer_key):
                        return opened
                self._sessions[peer] = await self._open_session(peer)
        raise errors.RPC_REQUEST_FAILED(agent=peer, method=SESSION_PATH, cause="the keys change")

    async def _open_session(self, peer: Address) -> _Opened:
        peer_key = await self.public_key(peer)
        try:
            return await self._greet(peer, peer_key)
        except errors.OBShellError:
            # It cannot read what is for a key that it has given up.
            successor = await self._successor(peer, peer_key)
            if successor is None:
                raise
        await self._cluster.learn_key(peer, peer_key.text, successor.text)
        if peer in self._met:
            self._met[peer] = successor.text
        return await self._greet(peer, successor)

    async def _successor(self, peer: Address, known: PublicKey) -> PublicKey | None:
        """The key that has taken the place of the known one, if it is so."""
        try:
            secret = await self.ask(peer, f"{API_PREFIX}/secret")
            claimed = PublicKey.from_text(secret["public_key"])
        except (errors.OBShellError, ValueError, KeyError, TypeError):
            return None
        successions = read_successions(json.dumps(secret.get("successions")))
        if claimed == known or not has_succeeded(known.text, claimed.text, successions):
            return None
        return claimed

    async def _greet(self, peer: Address, peer_key: PublicKey) -> _Opened:
        own, keyring = self._cluster.view.own, self._keyring
        own_key = keyring.public_text
        pending, hello = await asyncio.to_thread(
            make_hello, own, keyring.key, peer, peer_key, time.time(), keyring.life
        )
        if keyring.successions:
            hello["successions"] = write_successions(keyring.successions)

        async def post(scheme: str) -> tuple[int, bytes, str]:
            url = f"{scheme}://{peer}{SESSION_PATH}"
            async with self._http.post(url, json=hello, **self._how(scheme)) as response:
                self._silence.heard(peer)
                return response.status, await read_little(response.content), scheme

        status, content, scheme = await self._roads.find(peer, post)
        if status != HTTPStatus.OK:
            raise errors.RPC_REQUEST_FAILED(
                agent=peer, method=SESSION_PATH, cause=refusal_of(status, content)
            )
        session = pending.confirm(str(json.loads(content).get("session")))
        return session, scheme, own_key, peer_key.text


def _limit(scheme: str) -> aiohttp.ClientTimeout:
    """No limit but that of silence: an agent that is paused or whose host is lost says nothing.

    TLS is agreed upon while connecting, and a paused agent may be as slow at that as at answering.
    """
    connect_s = LONGEST_SILENCE_S if scheme == "https" else _CONNECT_TIMEOUT_S
    return aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=LONGEST_SILENCE_S)
