"""Makes the OpenAPI document tell what really happens: our errors, encryption, credentials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from pyobshell import errors
from pyobshell.api.access import AUTHORISED, AUTHORISED_FOR_ITSELF, LOCAL_ONLY
from pyobshell.errors import ErrorCode

DESCRIPTION = """\
Operate a cluster of OceanBase servers: any agent of it takes any request.

Requests with a password are **encrypted** (hybrid RSA and AES, header `X-OCS-Header`); the official
SDK, `pyobshell.client` and the `obshell` command do it for you. Over the agent's local socket they
are plain JSON, as shown here. Every answer is wrapped in the envelope `successful`, `timestamp`,
`duration` (ms), `status`, `traceId`, `data`, `error`.
"""
_FAILURES = {
    "400": ("BadRequest", "The request does not fit, or does not fit this agent"),
    "401": ("Unauthorized", "The credentials are wrong"),
    "404": ("NotFound", "There is no such task, or no such route"),
    "500": (
        "Failed",
        "A lock is held, another agent cannot be reached, or something unexpected happened",
    ),
}
_OF_ANY = ("400", "500")
_NEEDS_TASK, _HAS_NAMES = "/task/", "{"
_FAILURE = {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}
_SECURITY = {
    "X-OCS-Header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-OCS-Header",
        "description": "password of root@sys, expiry, URI and AES key, encrypted with the public "
        "key of `GET /secret`",
    },
    "X-OCS-Agent-Header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-OCS-Agent-Header",
        "description": "the same with the agent password, where one is set",
    },
}


def describe(app: FastAPI, routers: Sequence[APIRouter]) -> dict[str, Any]:
    """The OpenAPI document of an application that has the routes of these routers."""
    document = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
    )
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Failure"] = _failure_schema()
    document["components"]["securitySchemes"] = _SECURITY
    document["components"]["responses"] = {
        name: {"description": description, "content": _FAILURE}
        for name, description in _FAILURES.values()
    }
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                for method in route.methods or ():
                    operation = document["paths"][route.path][method.lower()]
                    _describe_operation(operation, route, router)
    return document


def _describe_operation(operation: dict[str, Any], route: APIRoute, router: APIRouter) -> None:
    first_line = (route.description or "").partition("\n")[0]
    operation["summary"] = first_line.rstrip(".").replace("`", "")
    operation["responses"].pop("422", None)
    guards = [one.dependency for one in (*router.dependencies, *route.dependencies)]
    authorised = not {AUTHORISED.dependency, AUTHORISED_FOR_ITSELF.dependency}.isdisjoint(guards)
    if authorised:
        operation["security"] = [{"X-OCS-Header": []}, {"X-OCS-Agent-Header": []}]
    named = _NEEDS_TASK in route.path or _HAS_NAMES in route.path
    may_be_missing = named or LOCAL_ONLY.dependency in guards
    for status, (name, _) in _FAILURES.items():
        if status in _OF_ANY or (may_be_missing if status == "404" else authorised):
            operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}


def _failure_schema() -> dict[str, Any]:
    codes = sorted(one.name for one in vars(errors).values() if isinstance(one, ErrorCode))
    return {
        "type": "object",
        "title": "Failure",
        "required": ["successful", "timestamp", "duration", "status", "traceId", "error"],
        "properties": {
            "successful": {"const": False},
            "timestamp": {"type": "string"},
            "duration": {"type": "integer"},
            "status": {"type": "integer"},
            "traceId": {"type": "string"},
            "data": {"type": "null"},
            "error": {
                "type": "object",
                "required": ["errCode", "message"],
                "properties": {
                    "code": {"type": "integer", "enum": [1, 10008]},
                    "errCode": {"type": "string", "enum": codes},
                    "message": {"type": "string"},
                },
            },
        },
    }
