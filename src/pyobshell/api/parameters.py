"""Routes that list and set the parameters of a cluster."""

from __future__ import annotations

from fastapi import APIRouter, Response

from pyobshell.api.access import AUTHORISED, SiteDep
from pyobshell.api.call import CallDep
from pyobshell.operations.parameters import list_parameters, set_parameters
from pyobshell.requests import SetParametersRequest
from pyobshell.wire import API_PREFIX, ClusterParameter, Contents, Envelope

router = APIRouter(prefix=API_PREFIX, tags=["cluster"], dependencies=[AUTHORISED])


@router.get("/obcluster/parameters", response_model=Envelope[Contents[ClusterParameter]])
async def get_parameters(call: CallDep, site: SiteDep) -> Response:
    """The parameters of a distributed cluster, with their values on every server."""
    found = await list_parameters(site)
    # What a parameter does not have is absent: the official SDK cannot do with null.
    return call.contents([one.model_dump(exclude_none=True) for one in found])


@router.patch("/obcluster/parameters", response_model=Envelope[None])
async def patch_parameters(body: SetParametersRequest, call: CallDep, site: SiteDep) -> Response:
    """Set parameters of a distributed cluster: everywhere, in zones, on servers, or of tenants.

    All is checked before the first is set; an error names those that had been set before it.
    """
    await set_parameters(site, body)
    return call.answer()
