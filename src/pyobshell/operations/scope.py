"""Which members an operation is for: reads a Scope against the members there are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.model import ClusterView
from pyobshell.requests import Scope


class ScopeType(StrEnum):
    """What the targets of a scope are."""

    GLOBAL = "GLOBAL"
    ZONE = "ZONE"
    SERVER = "SERVER"


@dataclass(frozen=True, slots=True)
class Targets:
    """The agents an operation is for, in the order asked for and without doubles."""

    type: ScopeType
    agents: tuple[Address, ...]
    zones: tuple[str, ...]


def resolve(scope: Scope, view: ClusterView) -> Targets:
    """The members a scope names.

    Raises ``OB.Cluster.Scope.Invalid``, ``Common.IllegalArgument`` (no target), the errors of an
    address, ``OB.Zone.NotExist`` or ``Agent.NotExist``.
    """
    kind = scope_type(scope)
    if kind is ScopeType.GLOBAL:
        return Targets(kind, tuple(view.addresses), tuple(view.zones))
    targets = list(dict.fromkeys(scope.target))
    if not targets:
        raise errors.ILLEGAL_ARGUMENT(name="scope.target", reason=f"{kind} needs targets")
    if kind is ScopeType.ZONE:
        for zone in targets:
            if zone not in view.zones:
                raise errors.ZONE_NOT_EXIST(zone=zone)
        return Targets(kind, tuple(view.in_zones(targets)), tuple(targets))
    members: dict[Address, str] = {}
    for target in targets:  # one after the other: the first that is wrong is the one named
        agent = Address.parse(target)
        member = view.member(agent)
        if member is None:
            raise errors.AGENT_NOT_EXIST(agent=agent)
        members[agent] = member.zone
    return Targets(kind, tuple(members), tuple(dict.fromkeys(members.values())))


def scope_type(scope: Scope) -> ScopeType:
    """The type of a scope, in whatever case it was written."""
    try:
        return ScopeType(scope.type.upper())
    except ValueError:
        raise errors.SCOPE_INVALID(type=scope.type.upper()) from None
