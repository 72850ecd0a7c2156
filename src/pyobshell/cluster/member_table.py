"""The list of members in a store: an agent's own copy, or that of the whole cluster in ``ocs``.

The latter is the truth, and has a version by which an agent can tell that its copy is old.
Passwords are in neither.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, text

from pyobshell.address import Address
from pyobshell.cluster.model import ClusterView, Member

_READ = text("SELECT * FROM member ORDER BY position")
_POSITION = text("SELECT position FROM member WHERE ip = :ip AND port = :port")
_NEXT_POSITION = text("SELECT COALESCE(MAX(position) + 1, 0) FROM member")
_FORGET_ALL = text("DELETE FROM member")
_FORGET = text("DELETE FROM member WHERE ip = :ip AND port = :port")
_ADD = text(
    "INSERT INTO member (ip, port, position, identity, zone, version, server_version, public_key,"
    " mysql_port, rpc_port, home_path, architecture)"
    " VALUES (:ip, :port, :position, :identity, :zone, :version, :server_version, :public_key,"
    " :mysql_port, :rpc_port, :home_path, :architecture)"
)
_VERSION = text("SELECT members_version FROM maintainer WHERE id = 1")
_COUNT_VERSION = text("UPDATE maintainer SET members_version = members_version + 1 WHERE id = 1")


class MemberList(BaseModel):
    """The members of the cluster, in the order in which they joined, and the list's version."""

    model_config = ConfigDict(frozen=True)

    version: int
    members: tuple[Member, ...]

    def adopted_by(self, view: ClusterView) -> ClusterView:
        """What an agent knows that has this list; one that is not on it keeps what it knew."""
        me = next((member for member in self.members if member.address == view.own), None)
        if me is None:
            return view
        news = {"identity": me.identity, "members_version": self.version}
        return view.with_members(self.members).model_copy(update=news)


def read(connection: Connection) -> tuple[Member, ...]:
    """The members in a store."""
    return tuple(Member.model_validate(dict(row._mapping)) for row in connection.execute(_READ))


def write(connection: Connection, members: Iterable[Member]) -> None:
    """Replace the members in a store."""
    connection.execute(_FORGET_ALL)
    rows = [{**m.model_dump(), "position": n} for n, m in enumerate(members)]
    if rows:
        connection.execute(_ADD, rows)


# --- in the cluster's own store ------------------------------------------------------------------


def read_shared(connection: Connection) -> MemberList:
    """The cluster's members."""
    version = connection.execute(_VERSION).scalar_one()
    return MemberList(version=version, members=read(connection))


def write_shared(connection: Connection, members: Iterable[Member]) -> None:
    """Replace the cluster's members as a whole, as when it is deployed."""
    write(connection, members)
    connection.execute(_COUNT_VERSION)


def put_shared(connection: Connection, member: Member) -> None:
    """Add a member, or alter the one that has its address."""
    where = member.address.wire
    position = connection.execute(_POSITION, where).scalar()
    if position is None:
        position = connection.execute(_NEXT_POSITION).scalar_one()
    connection.execute(_FORGET, where)
    connection.execute(_ADD, {**member.model_dump(), "position": position})
    connection.execute(_COUNT_VERSION)


def remove_shared(connection: Connection, agent: Address) -> None:
    """Strike a member off; no harm if it is none."""
    connection.execute(_FORGET, agent.wire)
    connection.execute(_COUNT_VERSION)
