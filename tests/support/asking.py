"""Requests to an agent's API as its clients make them, sealed or plain, right or wrong."""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import dataclass
from typing import Any

import httpx

from pyobshell.address import Address
from pyobshell.security.hybrid import seal_request
from pyobshell.security.keys import PublicKey
from support.waiting import PATIENCE_S

ROOT_HEADER, AGENT_HEADER, V1_HEADER = "X-OCS-Header", "X-OCS-Agent-Header", "X-OCS-Auth"


@dataclass
class Answer:
    """What came back; ``envelope`` is empty for an answer without content."""

    status: int
    envelope: dict[str, Any]
    text: str = ""

    @property
    def data(self) -> Any:
        assert self.status == 200, self.envelope
        return self.envelope.get("data")

    @property
    def contents(self) -> list[Any]:
        assert list(self.data) == ["contents"]
        return self.data["contents"]

    @property
    def refusal(self) -> tuple[str, int]:
        """Code and status of an error."""
        assert not self.envelope["successful"]
        return self.envelope["error"]["errCode"], self.status

    @property
    def message(self) -> str:
        return self.envelope["error"]["message"]


class Api:
    """One door to an agent. Requests over the network are sealed; local ones need not be."""

    def __init__(self, transport: httpx.AsyncBaseTransport, address: Address, trusted: bool):
        # Longer than an agent waits for a lock that was taken at the same time.
        self.http = httpx.AsyncClient(
            transport=transport, base_url=f"http://{address}", timeout=PATIENCE_S
        )
        self.http.headers.pop("accept-language", None)
        self._trusted = trusted
        self._public_key: PublicKey | None = None
        self.password = ""

    async def close(self) -> None:
        await self.http.aclose()

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        return await self.ask("POST", path, body, **more)

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        sealed_with: str = ROOT_HEADER,
        password: str | None = None,
        **wrong: Any,
    ) -> Answer:
        """Ask as the rightful client does; ``wrong`` replaces fields of the sealed header.

        ``body`` is JSON, or bytes to be sent as they are (in a sealed request: to be sealed).
        """
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        target = "/api/v1" + path
        headers = headers or {}
        if not self._trusted:
            offered = self.password if password is None else password
            name, value, content = await self.seal(sealed_with, offered, target, content, wrong)
            headers = {name: value, **headers}
        return await self.plain(method, target, content, headers)

    async def seal(
        self,
        name: str,
        password: str,
        target: str,
        content: bytes | None,
        wrong: dict[str, Any],
    ) -> tuple[str, str, bytes | None]:
        """The header of a request (its name, its value) and the body, encrypted."""
        key = await self.public_key()
        if name == V1_HEADER:
            fields = {"password": password, "ts": int(time.time()) + 60, **wrong}
            return name, sealed_fields(key, fields), content
        if not wrong:
            sealed = seal_request(key, password=password, uri=target, body=content, now=time.time())
            return name, sealed.header_value, sealed.body
        fields = {"auth": password, "ts": str(int(time.time()) + 60), "uri": target, **wrong}
        return name, sealed_fields(key, fields), content

    async def plain(
        self,
        method: str,
        target: str,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send bytes as they are."""
        response = await self.http.request(method, target, content=content, headers=headers)
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return Answer(response.status_code, response.json() if is_json else {}, response.text)

    async def public_key(self) -> PublicKey:
        if self._public_key is None:
            answer = await self.plain("GET", "/api/v1/secret")
            self._public_key = PublicKey.from_text(answer.data["public_key"])
        return self._public_key


def sealed_fields(key: PublicKey, fields: dict[str, Any]) -> str:
    """The value of a header with whatever fields."""
    return base64.b64encode(key.encrypt_sections(json.dumps(fields).encode())).decode()


_TRACE_ID = re.compile(r"[0-9a-f]{16}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?(Z|[+-]\d\d:\d\d)")
_ALWAYS = {"successful", "timestamp", "duration", "status", "traceId"}


def check_envelope(answer: Answer, trace_id: str | None = None) -> None:
    """That an answer has the one shape that every answer has."""
    if answer.status == 204:
        assert answer.text == ""
        return
    envelope = answer.envelope
    assert envelope.keys() >= _ALWAYS
    assert envelope.keys() <= {*_ALWAYS, "data", "error"}
    assert envelope["status"] == answer.status
    assert envelope["successful"] is (answer.status < 400)
    assert _MOMENT.fullmatch(envelope["timestamp"])
    assert type(envelope["duration"]) is int
    assert 0 <= envelope["duration"] < 60_000
    if trace_id is None:
        assert _TRACE_ID.fullmatch(envelope["traceId"])
    else:
        assert envelope["traceId"] == trace_id
    if answer.status < 400:
        assert answer.status == 200
        assert "error" not in envelope
        return
    assert answer.status in (400, 401, 404, 500)
    assert envelope.get("data") is None
    error = envelope["error"]
    assert {"errCode", "message"} <= error.keys() <= {"errCode", "message", "code"}
    assert error.get("code") in (None, 1, 10008)
    assert error["message"]
