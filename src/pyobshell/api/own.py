"""Routes for what is an agent's own: its password."""

from __future__ import annotations

from fastapi import APIRouter, Response

from pyobshell.api.access import AUTHORISED_FOR_ITSELF, SiteDep
from pyobshell.api.call import CallDep
from pyobshell.operations.agent_password import set_agent_password
from pyobshell.requests import AgentPasswordRequest
from pyobshell.wire import API_PREFIX, Envelope

router = APIRouter(prefix=API_PREFIX, tags=["agents"], dependencies=[AUTHORISED_FOR_ITSELF])


@router.post("/agent/password", response_model=Envelope[None], response_model_exclude_none=True)
async def post_password(body: AgentPasswordRequest, call: CallDep, site: SiteDep) -> Response:
    """Give this agent a password of its own, or another one."""
    await set_agent_password(site, body.password)
    return call.answer()
