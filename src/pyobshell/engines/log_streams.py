"""Log streams and their majorities: which of them outlive the loss of some servers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from pyobshell import errors
from pyobshell.address import Address

_MEMBER = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d+)(?::\d+)?")


@dataclass(frozen=True, slots=True)
class Replica:
    """One row of ``GV$OB_LOG_STAT``: a log stream's copy on one server.

    ``server`` and ``members`` are addresses with the rpc port; ``members`` and ``replica_num``
    count only in the row of the leader, if there is one.
    """

    tenant: str
    ls_id: int
    server: Address
    leads: bool
    in_sync: bool
    members: frozenset[Address]
    replica_num: int


@dataclass(frozen=True, slots=True)
class LogStream:
    """One log stream of one tenant, as its leader and its replicas describe it."""

    tenant: str
    ls_id: int
    replicas: tuple[Replica, ...]

    def __str__(self) -> str:
        return f"{self.tenant} LS {self.ls_id}"

    def without_word_of(self, servers: Collection[Address]) -> LogStream:
        """As it is known to those who believe nothing that is told of these servers."""
        told = tuple(one for one in self.replicas if one.server not in servers)
        return replace(self, replicas=told)

    @property
    def leader(self) -> Replica | None:
        """The replica that leads; none means that there is no majority now."""
        return next((one for one in self.replicas if one.leads), None)

    def is_on(self, servers: Collection[Address]) -> bool:
        """Whether one of these servers has a replica, or should have one."""
        leader = self.leader
        known = {one.server for one in self.replicas}
        for one in (leader,) if leader else self.replicas:
            known |= one.members
        return any(server in known for server in servers)

    def left(self, servers: Collection[Address]) -> int:
        """How many members of the leader's list are in sync, and not on these servers.

        Without a leader nothing is known, and the answer is 0.
        """
        leader = self.leader
        if leader is None:
            return 0
        return sum(
            one.in_sync and one.server in leader.members and one.server not in servers
            for one in self.replicas
        )

    def outlives(self, servers: Collection[Address]) -> bool:
        """Whether it keeps a majority without these servers; without a leader it has none."""
        leader = self.leader
        return leader is not None and self.left(servers) > leader.replica_num // 2

    def is_behind_on(self, servers: Collection[Address]) -> bool:
        """Whether one of these servers is a member, and its replica is missing or out of sync."""
        leader = self.leader
        if leader is None:
            return self.is_on(servers)
        in_sync = {one.server for one in self.replicas if one.in_sync}
        return any(server in leader.members and server not in in_sync for server in servers)

    @property
    def is_whole(self) -> bool:
        """Whether it has a leader, and every member is there and in sync."""
        leader = self.leader
        if leader is None:
            return False
        in_sync = {one.server for one in self.replicas if one.in_sync}
        return leader.members <= in_sync and len(leader.members) >= leader.replica_num


def log_streams(replicas: Iterable[Replica]) -> list[LogStream]:
    """The log streams that some replicas belong to."""
    found: dict[tuple[str, int], list[Replica]] = {}
    for replica in replicas:
        found.setdefault((replica.tenant, replica.ls_id), []).append(replica)
    return [LogStream(*key, tuple(members)) for key, members in found.items()]


def parse_members(text: str) -> frozenset[Address]:
    """The servers of a ``PAXOS_MEMBER_LIST``: items ``ip:port`` or ``ip:port:flag``, by commas.

    An item of another form raises ``OB.Server.Unavailable``: who is not understood would be
    missing, and a log stream seem whole without him.
    """
    return frozenset(_member(item.strip()) for item in text.split(",") if item.strip())


def _member(item: str) -> Address:
    found = _MEMBER.fullmatch(item)
    if found is None:
        raise errors.SERVER_UNAVAILABLE(reason=f"'{item}' is not understood in a member list")
    return Address(found[1] or found[2], int(found[3]))
