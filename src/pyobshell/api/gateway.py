"""What every request passes before it is routed: a call is made of it, and it is decrypted.

Other agents' requests (``/rpc/v1``) leave after step 1: they are sealed in their own way.

1  target and headers become a Call: trace id, language, clock
2  the OCS header, if any, is opened with the agent's private key   (in a thread; not on the
   local socket, where nobody has to prove anything), whatever is asked: if it lets nobody in it
   is used up in the end
3  the body is read, and much of it only after the request was let in (``api/access.py``)
4  the body, if encrypted, is opened with the keys from that header; what is wrong with it is told
   by the routes, once they have let the request in
5  the body is cut down to its first JSON value, as OBShell's decoder does
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Literal

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pyobshell import errors, log
from pyobshell.address import network_of
from pyobshell.api.body import read_body
from pyobshell.api.call import Call
from pyobshell.api.door import Door
from pyobshell.api.hung_up import has_hung_up
from pyobshell.api.local_caller import is_foreign
from pyobshell.api.masking import masked_target
from pyobshell.api.network import client_of, sender_of
from pyobshell.cluster.exchange import RPC_PREFIX
from pyobshell.errors import OBShellError
from pyobshell.security.hybrid import (
    UNREADABLE_BODY,
    RequestHeader,
    open_body,
    open_header_v1,
    open_header_v2,
)
from pyobshell.security.keyring import Keyring
from pyobshell.security.keys import PrivateKey
from pyobshell.security.turns import HUNG_UP, CryptoTurns
from pyobshell.security.verify import Credentials
from pyobshell.wire import API_PREFIX

_log = structlog.get_logger(__name__)
_LARGEST_BODY = 4 * 1024 * 1024
_UNASKED = 64 * 1024  # a scope that names 1,000 servers has less
_Kind = Literal["agent", "root", "v1"]
_Opener = Callable[[PrivateKey, str], RequestHeader]
# In the order of precedence: the agent header wins over the others.
_HEADERS: tuple[tuple[str, _Kind, _Opener], ...] = (
    ("x-ocs-agent-header", "agent", open_header_v2),
    ("x-ocs-header", "root", open_header_v2),
    ("x-ocs-auth", "v1", open_header_v1),
)


class Gateway:
    """ASGI middleware in front of the routes; ``trusted`` for the one on the local socket.

    Where TLS is required what was asked in plain is refused, unread.
    """

    def __init__(
        self,
        app: ASGIApp,
        rpc: ASGIApp,
        keyring: Keyring,
        crypto: CryptoTurns,
        door: Door,
        let_in: Callable[[Call, Scope], Awaitable[object]],
        use_up: Callable[[Call], Awaitable[object]],
        *,
        trusted: bool,
    ) -> None:
        self._app = app
        self._rpc = rpc
        self._keyring = keyring
        self._crypto = crypto
        self._door = door
        self._let_in = let_in
        self._use_up = use_up
        self._trusted = trusted
        self._tls_only = door.tls_only and not trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        call = Call.of(headers, _target(scope), trusted=self._trusted)
        scope["call"] = call
        with log.tracing(call.trace_id):
            unopened = None if self._trusted else await self._open_headers(call, headers, scope)
            try:
                refusal = self._not_here(scope)
                if refusal is not None:
                    await call.failure(refusal)(scope, receive, self._logged(call, scope, send))
                elif scope["path"].startswith(RPC_PREFIX):
                    await self._rpc(scope, receive, send)
                else:
                    logged = self._logged(call, scope, send)
                    await self._serve(call, unopened, scope, receive, logged)
            finally:
                if call.credentials is not None or call.beside:
                    await self._use_up(call)

    async def _open_headers(
        self, call: Call, headers: dict[str, str], scope: Scope
    ) -> OBShellError | None:
        """Have the call learn its credentials; returns why it has none, if they cannot be opened.

        Those of other kinds that were sent along are opened as well, for they have passwords in
        them too; if one kind comes twice none is.
        """
        try:
            _require_one_of_each(scope["headers"])
        except OBShellError as error:
            return error
        sent = [(kind, opener, headers[name]) for name, kind, opener in _HEADERS if name in headers]
        if not sent:
            return None
        key, client = self._keyring.key, client_of(scope)
        cost = sum(len(text) * 3 // 4 // key.section_bytes for *_, text in sent)  # it is base64
        try:
            opened = await self._crypto.run(sender_of(scope), cost, _open_all, key, client, sent)
        except OBShellError as error:
            return error.with_traceback(None)  # which leads here: a circle
        first = opened[0]
        if isinstance(first, Credentials):
            call.credentials, call.door = first, self._door
        call.beside = tuple(one for one in opened[1:] if isinstance(one, Credentials))
        return first if isinstance(first, OBShellError) else None

    def _not_here(self, scope: Scope) -> OBShellError | None:
        """Why a request may not come in by this door, whatever it asks."""
        if self._trusted:
            return errors.FOREIGN_USER() if is_foreign(scope) else None
        return errors.TLS_REQUIRED() if self._tls_only and scope["scheme"] != "https" else None

    async def _serve(
        self,
        call: Call,
        unopened: OBShellError | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        is_ours = scope["path"].startswith(f"{API_PREFIX}/")
        if is_ours and unopened is not None:
            await call.failure(unopened)(scope, receive, send)
            return
        try:
            if is_ours:
                body = await self._read(call, scope, receive)
                if scope["method"] != "GET" and await has_hung_up(receive):
                    raise errors.BAD_REQUEST(cause=HUNG_UP)
                receive = _replay(body, receive)
                scope["headers"] = _as_json(scope["headers"], body)
        except OBShellError as error:
            await call.failure(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _read(self, call: Call, scope: Scope, receive: Receive) -> bytes:
        """The body, decrypted."""
        let_in = None if self._trusted else partial(self._let_in, call, scope)
        body = await read_body(receive, _LARGEST_BODY, unasked=_UNASKED, let_in=let_in)
        try:
            if call.credentials is not None and call.credentials.kind != "v1":
                body = open_body(call.credentials.header.keys, body)
            return _first_json_value(body)
        except OBShellError as error:
            if self._trusted:
                raise
            call.unreadable = error.with_traceback(None)
            return b"{}"

    def _logged(self, call: Call, scope: Scope, send: Send) -> Send:
        """Log how a request was answered: changes and what went wrong, the rest for DEBUG."""
        status = 0
        client = client_of(scope) or "local socket"
        in_plain = self._door.tls is not None and not self._trusted and scope["scheme"] == "http"

        async def logged(message: Message) -> None:
            nonlocal status
            await send(message)
            status = message.get("status", status)
            if message["type"] != "http.response.body" or message.get("more_body"):
                return
            level, more = _level(scope["method"], status), dict[str, Any]()
            if not (call.admitted_as or self._trusted) and level > logging.DEBUG:
                left_out = self._door.refusals.left_out(network_of(client))
                if left_out is None:
                    return
                more = {"left_out": left_out} if left_out else {}
            if in_plain:
                more["plain"] = True  # whoever sees to it that all come over TLS looks for that
            words = f"{scope['method']} {masked_target(call.target)}"
            _log.log(level, words, action="request", status=status, client=client, **more)

        return logged


def _level(method: str, status: int) -> int:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.UNAUTHORIZED:
        return logging.WARNING
    return logging.DEBUG if method == "GET" else logging.INFO


def _target(scope: Scope) -> str:
    """The raw request target: path and query as the client wrote them."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    path = raw.decode("latin-1").partition("?")[0]
    query = scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _require_one_of_each(headers: list[tuple[bytes, bytes]]) -> None:
    """Raise if credentials come twice: which ones count must not depend on who reads them."""
    names = [name.decode("latin-1") for name, _ in headers]
    for name, _, _ in _HEADERS:
        if names.count(name) > 1:
            raise errors.BAD_REQUEST(cause=f"the header {name} comes more than once")


def _open_all(
    key: PrivateKey, client: str, sent: list[tuple[_Kind, _Opener, str]]
) -> list[Credentials | OBShellError]:
    """What is in each header, or why it cannot be opened."""
    opened: list[Credentials | OBShellError] = []
    for kind, opener, text in sent:
        try:
            opened.append(Credentials(kind, opener(key, text), key.public_text, client))
        except OBShellError as error:
            error.__traceback__ = error.__context__ = None  # which lead here: a circle
            opened.append(error)
    return opened


def _first_json_value(body: bytes) -> bytes:
    """An empty body and ``null`` count as ``{}``; what follows the first value is ignored."""
    try:
        text = body.decode().lstrip(" \t\r\n")
        if not text:
            return b"{}"
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        raise errors.BIND_JSON_FAILED(cause=UNREADABLE_BODY) from None
    return b"{}" if value is None else text[:end].encode()


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand the opened body on, then whatever else the connection says."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def _as_json(headers: list[tuple[bytes, bytes]], body: bytes) -> list[tuple[bytes, bytes]]:
    """OBShell never looks at the content type; the routes do."""
    kept = [(k, v) for k, v in headers if k not in (b"content-type", b"content-length")]
    length = str(len(body)).encode()
    return [*kept, (b"content-type", b"application/json"), (b"content-length", length)]
