"""Who may call: credentials are checked here, and a FOLLOWER's requests go on to its master."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated

from fastapi import Depends, Request

from pyobshell import errors
from pyobshell.api.call import CallDep
from pyobshell.cluster.model import Identity
from pyobshell.operations import passwords
from pyobshell.operations.site import Site
from pyobshell.security.verify import check_binding, verify


class ForwardToMaster(Exception):  # noqa: N818 - it is no error
    """Not an error: the request is for the master, which is to answer in this agent's place."""


def site_of(request: Request) -> Site:
    """The agent whose API this is."""
    site: Site = request.app.state.site
    return site


SiteDep = Annotated[Site, Depends(site_of)]


async def authorise(call: CallDep, site: SiteDep) -> None:
    """Let the rightful user through; raises an error of credentials, or ForwardToMaster."""
    if call.trusted:
        return
    credentials = call.credentials
    if credentials is None:
        raise errors.HEADER_NOT_FOUND()
    if call.forwarder is None:
        check_binding(credentials.header, call.target, time.time())
    identity = site.cluster.view.identity
    if identity is Identity.FOLLOWER:
        raise ForwardToMaster
    accept = partial(passwords.accept, site)
    await verify(identity, credentials, site.cluster.passwords, accept)


async def for_master(call: CallDep, site: SiteDep) -> None:
    """Routes that only a MASTER can answer: from the local socket too they are passed on."""
    if site.cluster.view.identity is Identity.FOLLOWER:
        raise ForwardToMaster


AUTHORISED = Depends(authorise)
FOR_MASTER = Depends(for_master)
