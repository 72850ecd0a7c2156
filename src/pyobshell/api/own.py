"""Routes for what is an agent's own: its password and its key."""

from __future__ import annotations

from fastapi import APIRouter, Response

from pyobshell import errors
from pyobshell.api.access import AUTHORISED_FOR_ITSELF, SiteDep
from pyobshell.api.call import CallDep
from pyobshell.cluster.model import Identity
from pyobshell.operations.agent_password import set_agent_password
from pyobshell.operations.rotation import rotate_key
from pyobshell.requests import AgentPasswordRequest, RotateKeyRequest
from pyobshell.wire import API_PREFIX, Envelope, RotatedKey

router = APIRouter(prefix=API_PREFIX, tags=["agents"], dependencies=[AUTHORISED_FOR_ITSELF])


@router.post("/agent/password", response_model=Envelope[None], response_model_exclude_none=True)
async def post_password(body: AgentPasswordRequest, call: CallDep, site: SiteDep) -> Response:
    """Give this agent a password of its own, or another one."""
    await set_agent_password(site, body.password)
    return call.answer()


@router.post("/agent/rotate-key", response_model=Envelope[RotatedKey])
async def post_rotate_key(body: RotateKeyRequest, call: CallDep, site: SiteDep) -> Response:
    """Give this agent a new key; the old one is destroyed.

    Members that cannot be reached learn it when they next speak with this agent.
    """
    guards_nothing = site.cluster.view.identity is Identity.SINGLE
    if guards_nothing and site.cluster.passwords.agent is None and not call.trusted:
        raise errors.AGENT_PASSWORD_NOT_INITIALIZED()
    return call.answer(await rotate_key(site, body.key_bits))
