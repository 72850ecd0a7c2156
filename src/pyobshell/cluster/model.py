"""The cluster as one agent sees it: an immutable snapshot that decisions are made from."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from pyobshell import errors
from pyobshell.address import Address


class Identity(StrEnum):
    """What an agent is in its cluster; names and transitions are OBShell's."""

    UNIDENTIFIED = "UNIDENTIFIED"
    SINGLE = "SINGLE"  # member of nothing
    MASTER = "MASTER"  # leads a cluster that is not initialized yet
    FOLLOWER = "FOLLOWER"  # member of such a cluster
    CLUSTER_AGENT = "CLUSTER AGENT"  # member of a running cluster; all are equal
    SCALING_OUT = "SCALING OUT"
    SCALING_IN = "SCALING IN"
    TAKE_OVER_MASTER = "TAKE OVER MASTER"
    TAKE_OVER_FOLLOWER = "TAKE OVER FOLLOWER"


class Member(BaseModel):
    """An agent of the cluster and the server beside it."""

    model_config = ConfigDict(frozen=True)

    ip: str
    port: int
    identity: Identity
    zone: str
    version: str
    server_version: str
    public_key: str
    mysql_port: int
    rpc_port: int
    home_path: str
    architecture: str

    @property
    def address(self) -> Address:
        """Where the agent listens."""
        return Address(self.ip, self.port)

    @property
    def server(self) -> Address:
        """What its server is called in a cluster: the ip with the server's rpc port."""
        return Address(self.ip, self.rpc_port)


class ClusterView(BaseModel):
    """A snapshot: the cluster's name, and its members in the order in which they joined.

    ``members_version`` is that of the cluster's own list, if the members are from there.
    """

    model_config = ConfigDict(frozen=True)

    own: Address
    identity: Identity = Identity.SINGLE
    cluster_id: int = 0
    cluster_name: str = ""
    members: tuple[Member, ...] = ()
    members_version: int = 0

    def member(self, address: Address) -> Member | None:
        """The member with that address, if there is one."""
        return next((m for m in self.members if m.address == address), None)

    @property
    def addresses(self) -> list[Address]:
        """The members' addresses."""
        return [member.address for member in self.members]

    @property
    def others(self) -> list[Address]:
        """The members' addresses, without this agent's own."""
        return [address for address in self.addresses if address != self.own]

    @property
    def who_answer(self) -> list[Address]:
        """The agents that answer this one: of a FOLLOWER it is the MASTER alone, beside itself."""
        if self.identity is Identity.FOLLOWER:
            masters = (one.address for one in self.members if one.identity is Identity.MASTER)
            return [*masters, self.own]
        return self.addresses or [self.own]

    @property
    def zone(self) -> str:
        """The zone of this agent; empty while it is a member of nothing."""
        me = self.member(self.own)
        return me.zone if me else ""

    @property
    def zones(self) -> list[str]:
        """The names of the zones, in the order of their first members."""
        return list(dict.fromkeys(member.zone for member in self.members))

    @property
    def master(self) -> Address:
        """The agent that leads before initialization; raises ``Agent.NoMaster``."""
        for member in self.members:
            if member.identity is Identity.MASTER:
                return member.address
        raise errors.AGENT_NO_MASTER()

    def in_zones(self, zones: Iterable[str]) -> list[Address]:
        """The members of some zones."""
        wanted = set(zones)
        return [member.address for member in self.members if member.zone in wanted]

    def with_members(self, members: Iterable[Member]) -> ClusterView:
        """The same cluster with other members."""
        return self.model_copy(update={"members": tuple(members)})

    def require(self, *identities: Identity) -> None:
        """Raise ``Agent.Identify.NotSupportOperation`` unless this agent is one of these."""
        if self.identity not in identities:
            raise errors.IDENTITY_NOT_SUPPORTED(
                agent=self.own, identity=self.identity, needed=" or ".join(identities)
            )
