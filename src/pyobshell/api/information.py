"""Routes that tell what an agent and its cluster are."""

from __future__ import annotations

import os
import time

from fastapi import APIRouter, Response

from pyobshell.api.access import AUTHORISED, FOR_MASTER, SiteDep
from pyobshell.api.call import CallDep
from pyobshell.operations import describe
from pyobshell.requests import AgentInfo
from pyobshell.settings import API_VERSION, architecture
from pyobshell.wire import (
    API_PREFIX,
    AgentInfoDTO,
    AgentSecret,
    AgentStatus,
    AgentWithIdentity,
    Contents,
    Envelope,
    ObInfo,
    rfc3339,
)

RUNNING = 2
router = APIRouter(prefix=API_PREFIX, tags=["information"])


@router.get("/time", response_model=Envelope[str])
async def get_time(call: CallDep) -> Response:
    """The agent's clock."""
    return call.answer(rfc3339(time.time_ns()))


@router.get("/info", response_model=Envelope[AgentInfoDTO])
async def get_info(call: CallDep, site: SiteDep) -> Response:
    """What this agent is; clients ask it first, to learn how to authenticate."""
    view = site.cluster.view
    return call.answer(
        AgentInfoDTO(
            pid=os.getpid(),
            state=RUNNING,
            startAt=site.started_at,
            homePath=str(site.settings.base_dir),
            obVersion=await site.engine.version(),
            architecture=architecture(),
            ip=site.own.ip,
            port=site.own.port,
            zone=view.zone,
            identity=view.identity,
            version=API_VERSION,
            isObproxyAgent=False,
            security=site.cluster.passwords.agent is not None,
            supportedAuth=["v2"],
        )
    )


@router.get("/secret", response_model=Envelope[AgentSecret])
async def get_secret(call: CallDep, site: SiteDep) -> Response:
    """The public key that requests to this agent are encrypted with."""
    return call.answer(
        AgentSecret(
            ip=site.own.ip,
            port=site.own.port,
            public_key=site.keyring.public_text,
            successions=list(site.keyring.successions),
        )
    )


@router.get("/status", response_model=Envelope[AgentStatus], response_model_exclude_none=True)
@router.post("/status", response_model=Envelope[AgentStatus], include_in_schema=False)
async def get_status(call: CallDep, site: SiteDep) -> Response:
    """Whether the agent works, how far its server can be used, and whether a lock is held."""
    state, locked = await site.health.see()
    status = AgentStatus(
        agent=AgentWithIdentity(
            ip=site.own.ip, port=site.own.port, identity=site.cluster.view.identity
        ),
        state=RUNNING,
        version=API_VERSION,
        pid=os.getpid(),
        startAt=site.started_at,
        port=site.own.port,
        obState=state,
        sqlPort=site.keeper.config.mysql_port if site.keeper.deployed else None,
        underMaintenance=locked,
        unidentified=(site.unidentified or None) if call.trusted else None,
    )
    return call.answer(status.model_dump(exclude_none=True))


@router.get("/ob/info", response_model=Envelope[ObInfo], dependencies=[AUTHORISED, FOR_MASTER])
async def get_ob_info(call: CallDep, site: SiteDep) -> Response:
    """The cluster: its agents, and its servers by zone."""
    return call.answer(await describe.ob_info(site))


@router.get(
    "/ob/agents",
    response_model=Envelope[Contents[AgentInfo]],
    dependencies=[AUTHORISED, FOR_MASTER],
)
async def get_ob_agents(call: CallDep, site: SiteDep) -> Response:
    """The addresses of the cluster's agents."""
    return call.contents([address.wire for address in site.cluster.view.addresses])
