"""A new key for an agent, in the place of the one by which others know it.

    made ─ written in the old one's place ─ used ─ in the list of the cluster ─ told to each member

Written is one file, whole or not at all, so at every instant there is one key that works. Who
has not been told learns it when it next speaks with this agent: the new key is signed with the old.
"""

from __future__ import annotations

import asyncio

import structlog

from pyobshell import errors
from pyobshell.cluster.model import Identity
from pyobshell.cluster.procedures import Caller, Nothing, procedure
from pyobshell.cluster.state import ClusterState
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations.ocs import persistently
from pyobshell.operations.reached import unreachable
from pyobshell.operations.site import Site
from pyobshell.security.keyring import MOST_KEPT, Keyring, has_succeeded
from pyobshell.whole_file import replace_secret_file
from pyobshell.wire import RotatedKey, UnreachableAgent

_log = structlog.get_logger(__name__)
_SETTLED = (Identity.SINGLE, Identity.MASTER, Identity.FOLLOWER, Identity.CLUSTER_AGENT)


async def rotate_key(site: Site, bits: int) -> RotatedKey:
    """Give this agent a new key of so many bits; tasks and locks are left as they are.

    Raises ``Agent.Identify.NotSupportOperation`` while it joins or leaves a cluster, and
    ``Agent.Key.NotWritten`` if the key cannot be written, ``Agent.Key.WouldBeUnknown`` if somebody
    could never learn it: then the old one is in use still.
    """
    site.cluster.view.require(*_SETTLED)
    if site.ocs is None and len(site.keyring.successions) >= MOST_KEPT:
        await _require_all_to_know_the_key(site)
    return await site.background.do(_rotate(site, bits))


async def _require_all_to_know_the_key(site: Site) -> None:
    """Raise if a member is out of reach that may know only a key of which no proof will be left.

    Where a database is shared the key is in there as well.
    """
    away = await _tell(site)
    if away:
        raise errors.KEY_WOULD_BE_UNKNOWN(agents=", ".join(one.agent for one in away))


async def _rotate(site: Site, bits: int) -> RotatedKey:
    keyring, file = site.keyring, site.settings.paths.private_key
    async with keyring.changing:
        old = keyring.public_text
        successor = await asyncio.to_thread(keyring.successor, bits)
        try:
            await asyncio.to_thread(replace_secret_file, file, successor.to_text())
        except OSError as error:
            raise errors.KEY_NOT_WRITTEN(file=file, cause=error.strerror) from error
        keyring.become(successor)
        site.doorway.forget_all()
        site.peers.forget_all()
        site.replays.forget_timeless()
        _log.info("the agent has a new key", action="key.rotate", bits=bits)
        try:
            await site.cluster.learn_key(site.own, old, keyring.public_text)
        except OBShellError as error:  # at its start the agent sees to it
            _log.warning("not in its own list", action="key.rotate", cause=str(error))
    await _list(site)
    return RotatedKey(public_key=keyring.public_text, key_bits=bits, unreachable=await _tell(site))


async def _list(site: Site) -> None:
    """Have the cluster's own list show the key, as soon as the database can be used."""
    if site.ocs is None or not site.ocs.is_open:
        return
    try:
        await site.ocs.show_own_key()
    except OBShellError as error:
        _log.warning("not in the cluster's list yet", action="key.list", cause=str(error))
        site.background.begin(persistently(site.ocs.show_own_key))


async def _tell(site: Site) -> list[UnreachableAgent]:
    """Greet the others, which is to prove the new key to them; those that were not reached."""
    view = site.cluster.view
    others = [view.master] if view.identity is Identity.FOLLOWER else view.others
    patience = Deadline.after(site.settings.rpc_timeout_s)
    answers = await site.peers.call_all(others, greeted, Nothing(), patience)
    return unreachable(site.cluster.view, answers)


@procedure("key/greeted")
async def greeted(site: Site, caller: Caller, request: Nothing) -> Nothing:
    """Have been greeted: who can ask this is known by the key that it has."""
    return Nothing()


async def know_own_key(cluster: ClusterState, keyring: Keyring) -> None:
    """At the agent's start: have its own list show the key, if its change was cut short."""
    view = cluster.view
    me = view.member(view.own)
    if me is None or me.public_key == keyring.public_text:
        return
    if has_succeeded(me.public_key, keyring.public_text, keyring.successions):
        await cluster.learn_key(view.own, me.public_key, keyring.public_text)


PROCEDURES = (greeted,)
