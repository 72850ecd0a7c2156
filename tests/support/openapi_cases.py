"""Requests made up from the OpenAPI document, right and wrong, and what every answer to them is."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlencode

import jsonschema_rs
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.core import NOT_SET
from schemathesis.generation.modes import GenerationMode

from pyobshell.api.app import make_app
from support.asking import Answer, check_envelope

# What the agent answers with 500 though nothing is wrong with it: somebody else is in the way.
IN_THE_WAY = {
    "Agent.AlreadyExists",
    "Agent.Maintainer.NotActive",
    "Agent.NoMaster",
    "Agent.RPC.RequestError",
    "Agent.RPC.RequestFailed",
    "Agent.UnderMaintenance",
    "Agent.UnderMaintenanceDag",
    "OB.Cluster.UnderMaintenanceWithDag",
    "OB.Server.Process.CheckFailed",
    "OB.Server.Process.NotExist",
    "OB.Server.Unavailable",
}


@dataclass(frozen=True)
class Made:
    """A request that was made up."""

    operation: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return make_app(SimpleNamespace()).openapi()  # type: ignore[arg-type]


OPERATIONS = [
    f"{method.upper()} {path}"
    for path, methods in document()["paths"].items()
    for method in methods
]


class Cases:
    """Makes requests up, in which ``plausible`` values stand now and then: lists of them, by name.

    What is ``fixed`` has this value and no other.
    """

    def __init__(self, plausible: dict[str, list[Any]], fixed: dict[str, Any]) -> None:
        schema = schemathesis.openapi.from_dict(_seasoned(document(), plausible, fixed))
        self._operations = {one.ok().label: one.ok() for one in schema.get_all_operations()}

    def draw(self, operation: str, count: int, start: int = 0) -> list[Made]:
        """So many requests of one operation, such as ``POST /api/v1/ob/stop``; always the same
        from the same ``start``. Half of them do not fit the document, if anything in them could.
        """
        found = self._operations[operation]
        can_be_wrong = bool(found.body or found.query)  # any text is a name, or an id
        drawn: list[Made] = []
        for way in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)[: 1 + can_be_wrong]:

            @seed(start)
            @settings(
                max_examples=-(-count // (1 + can_be_wrong)),
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(found.as_strategy(generation_mode=way))
            def note(case: Any) -> None:
                drawn.append(_made(case))

            note()
        return drawn


def _made(case: Any) -> Made:
    query = urlencode(case.query, doseq=True) if case.query else ""
    return Made(
        operation=case.operation.label,
        method=case.method,
        target=_encoded(case.formatted_path) + (f"?{query}" if query else ""),
        headers=_sendable(case.headers or {}),
        body=None if case.body is NOT_SET else _bytes(case.body),
    )


def _encoded(path: str) -> str:
    return quote(path, safe="/%:@!$&'()*+,;=~")


def _bytes(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def _sendable(headers: dict[str, Any]) -> dict[str, str]:
    return {
        name: value.strip()
        for name, value in headers.items()
        if isinstance(value, str) and value.isprintable() and not name.lower().startswith("x-ocs")
    }


def _seasoned(value: Any, plausible: dict[str, list[Any]], fixed: dict[str, Any]) -> Any:
    """A copy of the document in which properties and parameters may have these values too."""
    schemas = {
        name: lambda old, v=v: {"anyOf": [{"enum": v}, old]} for name, v in plausible.items()
    }
    schemas |= {name: lambda old, v=v: {"const": v} for name, v in fixed.items()}
    value = copy.deepcopy(value)
    found = [value]
    while found:
        inner = found.pop()
        if isinstance(inner, list):
            found += inner
        elif isinstance(inner, dict):
            found += inner.values()
            properties = inner.get("properties") or {}
            for name in schemas.keys() & properties.keys():
                properties[name] = schemas[name](properties[name])
            if inner.get("in") in ("path", "query") and inner.get("name") in schemas:
                inner["schema"] = schemas[inner["name"]](inner["schema"])
    return value


def check_answer(made: Made, answer: Answer) -> None:
    """That an answer is in the envelope, is no failure of ours, and is what the document tells."""
    assert "Traceback" not in answer.text
    check_envelope(answer)
    if answer.status == 500:
        assert answer.refusal[0] in IN_THE_WAY, answer.message
    described = _validators(made.operation)
    assert str(answer.status) in described, f"{answer.status} is not described: {answer.text}"
    validator = described[str(answer.status)]
    if validator is not None:
        validator.validate(answer.envelope)


@cache
def _validators(operation: str) -> dict[str, jsonschema_rs.Validator | None]:
    method, _, path = operation.partition(" ")
    responses = document()["paths"][path][method.lower()]["responses"]
    components = {"components": document()["components"]}
    found: dict[str, jsonschema_rs.Validator | None] = {}
    for status, response in responses.items():
        if "$ref" in response:
            name = response["$ref"].rpartition("/")[2]
            response = document()["components"]["responses"][name]
        content = response.get("content")
        found[status] = content and jsonschema_rs.validator_for(
            {**components, **content["application/json"]["schema"]}
        )
    return found
