"""Puts the API together: the routes, and one place where errors become answers."""

from __future__ import annotations

import functools

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pyobshell import __version__, errors
from pyobshell.api import (
    agents,
    audit,
    forward,
    information,
    ob,
    own,
    parameters,
    scale,
    schema,
    tasks,
)
from pyobshell.api.access import ForwardToMaster
from pyobshell.api.call import call_of
from pyobshell.operations.site import Site
from pyobshell.security.hybrid import UNREADABLE_BODY

_log = structlog.get_logger(__name__)


def make_app(site: Site) -> FastAPI:
    """The routes of one agent, without the gateway in front of them."""
    app: FastAPI = FastAPIOffline(
        title="pyobshell",
        version=__version__,
        openapi_url="/openapi.json",
        docs_url="/docs",
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.site = site
    modules = (information, agents, own, ob, parameters, scale, tasks, audit)
    routers = [module.router for module in modules]
    for router in routers:
        app.routes.extend(router.routes)  # an included one is built again at the first request
    document = functools.partial(schema.describe, app, routers)
    app.openapi = functools.cache(document)  # type: ignore[method-assign]  # FastAPI's own way
    _tell_document(app)
    app.add_exception_handler(errors.OBShellError, _refused)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _no_such_route)
    app.add_exception_handler(ForwardToMaster, _forwarded)
    app.add_exception_handler(Exception, _crashed)
    return app


def _tell_document(app: FastAPI) -> None:
    """Answer the OpenAPI document as bytes that are made once: anybody may ask for it."""
    path = app.openapi_url or ""
    app.router.routes[:] = [one for one in app.routes if getattr(one, "path", "") != path]
    written = functools.cache(lambda: to_json(app.openapi()))

    async def answer(request: Request) -> Response:
        return Response(written(), media_type="application/json")

    app.add_route(path, answer, include_in_schema=False)


async def _refused(request: Request, error: Exception) -> Response:
    return call_of(request).failure(errors.coded(error))


async def _unreadable(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        return await _crashed(request, error)
    faults = "; ".join(
        f"{'.'.join(map(str, fault['loc'][1:])) or 'body'}: {fault['msg']}"
        for fault in error.errors()
    )
    return call_of(request).failure(errors.BIND_JSON_FAILED(cause=faults))


async def _no_such_route(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 400:  # a body nested too deeply
        return call_of(request).failure(errors.BIND_JSON_FAILED(cause=UNREADABLE_BODY))
    return call_of(request).failure(errors.NOT_FOUND(method=request.method, path=request.url.path))


async def _forwarded(request: Request, error: Exception) -> Response:
    site: Site = request.app.state.site
    try:
        return await forward.forward(request, site)
    except errors.OBShellError as failure:
        return call_of(request).failure(failure)


async def _crashed(request: Request, error: Exception) -> Response:
    _log.error("request crashed", action="request.crash", path=request.url.path, exc_info=error)
    return call_of(request).failure(errors.UNEXPECTED(cause="see the agent's log"))
