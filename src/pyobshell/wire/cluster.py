"""The cluster, its servers and their parameters, as they are shown."""

from __future__ import annotations

from pydantic import BaseModel, Field

from pyobshell.wire.envelope import Unreached


class AgentInstance(BaseModel):
    """A member of the cluster."""

    ip: str
    port: int
    zone: str
    identity: str
    version: str


class ServerInfo(BaseModel):
    """A database server in the cluster's topology."""

    svr_ip: str
    svr_port: int
    sql_port: int
    agent_port: int
    with_rootserver: str
    status: str
    build_version: str


class ObclusterInfo(BaseModel):
    """The cluster and its servers by zone."""

    id: int
    name: str
    version: str
    is_shared_storage: bool = False
    topology: dict[str, list[ServerInfo]] | None = None


class ServerParameterValue(BaseModel):
    """A parameter on one server, and for one tenant if it is a parameter of tenants."""

    svr_ip: str
    svr_port: int
    zone: str
    tenant_id: int | None = None
    tenant_name: str | None = None
    value: str


class TenantParameterValue(BaseModel):
    """A parameter of one tenant; once for each value, should its servers differ."""

    tenant_id: int
    tenant_name: str | None = None
    value: str


class ClusterParameter(BaseModel):
    """A parameter and all values that it has."""

    name: str
    scope: str
    edit_level: str
    default_value: str
    section: str
    data_type: str
    info: str
    ob_parameters: list[ServerParameterValue]
    tenant_value: list[TenantParameterValue] | None = None
    values: list[str] | None = None
    is_single_value: bool


class ObInfo(BaseModel):
    """``GET /ob/info``; agents that had to be asked about their servers may be ``unreachable``."""

    agent_info: list[AgentInstance] | None
    obcluster_info: ObclusterInfo
    unreachable: Unreached = Field(default_factory=list)
