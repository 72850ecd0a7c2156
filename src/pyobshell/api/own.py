"""Routes for what is an agent's own: its password, its key, its certificate, its files."""

from __future__ import annotations

from fastapi import APIRouter, Response

from pyobshell.api.access import AUTHORISED_FOR_ITSELF, GUARDED, LOCAL_ONLY, SiteDep
from pyobshell.api.call import CallDep
from pyobshell.operations.agent_password import set_agent_password
from pyobshell.operations.renew_tls import renew_tls
from pyobshell.operations.rotation import rotate_key
from pyobshell.operations.unwritable import unwritable
from pyobshell.requests import AgentPasswordRequest, RotateKeyRequest
from pyobshell.wire import (
    API_PREFIX,
    Contents,
    Envelope,
    RotatedKey,
    TlsCertificate,
    Unwritable,
)

router = APIRouter(prefix=API_PREFIX, tags=["agents"], dependencies=[AUTHORISED_FOR_ITSELF])


@router.post("/agent/password", response_model=Envelope[None], response_model_exclude_none=True)
async def post_password(body: AgentPasswordRequest, call: CallDep, site: SiteDep) -> Response:
    """Give this agent a password of its own, or another one."""
    await set_agent_password(site, body.password)
    return call.answer()


@router.post("/agent/rotate-key", response_model=Envelope[RotatedKey], dependencies=[GUARDED])
async def post_rotate_key(body: RotateKeyRequest, call: CallDep, site: SiteDep) -> Response:
    """Give this agent a new key; the old one is destroyed.

    Members that cannot be reached learn it when they next speak with this agent.
    """
    return call.answer(await rotate_key(site, body.key_bits))


@router.post(
    "/agent/tls/reload", response_model=Envelope[TlsCertificate], dependencies=[LOCAL_ONLY]
)
async def post_reload_tls(call: CallDep, site: SiteDep) -> Response:
    """Have the agent read its certificate, key and CA anew; over its local socket alone."""
    return call.answer(await renew_tls(site))


@router.get(
    "/agent/unwritable",
    response_model=Envelope[Contents[Unwritable]],
    dependencies=[LOCAL_ONLY],
)
async def get_unwritable(call: CallDep, site: SiteDep) -> Response:
    """What the agent's own process fails to write to; over its local socket alone."""
    return call.answer(Contents(contents=await unwritable(site)))
