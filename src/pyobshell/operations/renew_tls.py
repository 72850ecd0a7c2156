"""Takes up renewed certificates without a restart; connections that are open go on, unless
a CA is trusted no more: then they end when what is asked on them is answered.
"""

from __future__ import annotations

import asyncio

from pyobshell import errors
from pyobshell.operations.site import Site
from pyobshell.security.tls import TlsFileError
from pyobshell.wire import NANOSECONDS, TlsCertificate, rfc3339


async def renew_tls(site: Site) -> TlsCertificate:
    """Read certificate, key and CA anew; returns what is shown from now on.

    Raises ``Agent.Tls.NotReloaded`` if they cannot be used, or the agent speaks no TLS.
    """
    if site.tls is None:
        raise errors.TLS_NOT_RELOADED(cause="the agent was started without TLS")
    try:
        async with site.tls.renewing:
            site.tls.renew(await asyncio.to_thread(site.tls.read))
    except TlsFileError as error:
        raise errors.TLS_NOT_RELOADED(cause=error) from None
    shown = site.tls.certificate
    until = rfc3339(int(shown.not_after.timestamp()) * NANOSECONDS)
    return TlsCertificate(notAfter=until, sha256=shown.sha256)
