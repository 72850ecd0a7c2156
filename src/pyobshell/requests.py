"""The bodies of requests, named and spelled as OBShell's, and read as Go's decoder reads them.

Names in any case, null as absent, unknown names ignored, no value of one type taken for another.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator


class Request(BaseModel):
    """A request body, read as leniently as OBShell reads it and no more."""

    model_config = ConfigDict(strict=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _as_go_reads_it(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        _require_whole_characters(body)
        known = {
            name.lower(): name
            for field, info in cls.model_fields.items()
            for name in (info.alias or field,)
        }
        return {known.get(k.lower(), k): v for k, v in body.items() if v is not None}


def _require_whole_characters(value: Any) -> None:
    r"""Raise ValueError for half a character: JSON can spell one (``\ud800``), nobody keep it."""
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict):
        for name, inner in value.items():
            name.encode()
            _require_whole_characters(inner)
    elif isinstance(value, list):
        for inner in value:
            _require_whole_characters(inner)


class AgentInfo(Request):
    """The address of an agent."""

    ip: str
    port: int


class Scope(Request):
    """Which servers an operation is for."""

    model_config = ConfigDict(json_schema_extra={"required": ["type"]})

    type: str = Field("", examples=["GLOBAL"], description="GLOBAL, ZONE or SERVER, in any case")
    target: list[str] = Field(
        default_factory=list,
        description="names of zones, or ip:port of agents; ignored for GLOBAL",
        examples=[[], ["zone1"], ["10.10.10.1:2886"]],
    )


class ForcePassDag(Request):
    """Earlier start or stop tasks to release; the ids stand in a list, or in ``{"id": [...]}``."""

    id: list[str] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _bare_list(cls, value: Any) -> Any:
        return {"id": value} if isinstance(value, list) else value


_IDS = {"type": "array", "items": {"type": "string"}}
ForcePass = Annotated[
    ForcePassDag,
    WithJsonSchema(
        {"anyOf": [_IDS, {"type": "object", "properties": {"id": _IDS}}, {"type": "null"}]}
    ),
    Field(
        default_factory=ForcePassDag,
        description='ids of earlier start or stop tasks to release: ["id"] or {"id": ["id"]}',
    ),
]


class StartRequest(Request):
    """``POST /ob/start``."""

    model_config = ConfigDict(json_schema_extra={"required": ["scope"]})

    scope: Scope = Field(default_factory=Scope)
    forcePassDag: ForcePass


class StopRequest(StartRequest):
    """``POST /ob/stop``: with neither flag the servers are stopped gently."""

    force: bool = Field(False, description="kill the server processes (SIGKILL)")
    terminate: bool = Field(False, description="minor freeze, verified, then kill")
    dryRun: bool = Field(False, description="change nothing, and answer what would be done")


class StopZoneRequest(Request):
    """``POST /ob/zone/{zone}/stop`` and ``/ob/zone/{zone}/stop/check``."""

    freeze_server: bool = Field(False, description="minor freeze, verified, before the kill")
    forcePassDag: ForcePass


class RestartRequest(StartRequest):
    """``POST /ob/restart``."""

    model_config = ConfigDict(json_schema_extra={"required": ["rolling"]})

    scope: Scope = Field(default_factory=lambda: Scope(type="GLOBAL"))
    rolling: bool = Field(False, description="one zone after the other; it must be true")
    terminate: bool = Field(True, description="minor freeze, verified, before each kill")


class ParameterSetting(Request):
    """One item of ``PATCH /obcluster/parameters``; without a place it is for all servers."""

    name: str
    value: str
    scope: str = Field(description="CLUSTER or TENANT")
    zones: list[str] = Field(default_factory=list)
    servers: list[str] = Field(default_factory=list, description="`ip:rpc_port`")
    tenants: list[str] = Field(default_factory=list, description="none: the system's")
    all_user_tenant: bool = False


class SetParametersRequest(Request):
    """``PATCH /obcluster/parameters``."""

    params: list[ParameterSetting]


class JoinRequest(Request):
    """``POST /agent/join``, sent to the agent that is to join ``agentInfo``, or to lead."""

    agentInfo: AgentInfo
    zoneName: str
    masterPassword: str = Field("", description="agent password of that agent, if it has one")


class AgentPasswordRequest(Request):
    """``POST /agent/password``."""

    password: str = Field(min_length=1, description="the agent password that is to be")


class RotateKeyRequest(Request):
    """``POST /agent/rotate-key``, which is not OBShell's."""

    key_bits: Literal[2048, 3072, 4096]


class ObclusterConfigRequest(Request):
    """``POST /obcluster/config``."""

    clusterId: int = 0
    clusterName: str = ""
    rootPwd: str = Field("", description="the password that root@sys is to get")
    rsList: str = ""


class ObserverConfigRequest(Request):
    """``POST /observer/config``."""

    observerConfig: dict[str, str]
    scope: Scope = Field(default_factory=Scope)
    restart: bool = False


class InitRequest(Request):
    """``POST /ob/init``."""

    import_script: bool = False
    create_proxyro_user: bool = False
    proxyro_password: str = ""


class ScaleOutRequest(Request):
    """``POST /ob/scale_out``: a SINGLE agent is to become a member, its server one of the zone."""

    agentInfo: AgentInfo
    zone: str
    obConfigs: dict[str, str] = Field(
        description="options of the new server, as of observer/config",
        examples=[{"mysql_port": "2881", "rpc_port": "2882"}],
    )
    targetAgentPassword: str = Field("", description="agent password of the agent, if it has one")


class ScaleInRequest(Request):
    """``POST /ob/scale_in``; ``remove_data`` is not OBShell's."""

    agent_info: AgentInfo
    force_kill: bool = Field(
        False, description="kill the server first; refused if a log stream needs it"
    )
    remove_data: bool = Field(
        False, description="remove the server's files in the end; else they stay where they are"
    )


class OperatorRequest(Request):
    """``POST /task/dag/{id}`` and ``POST /task/node/{id}``."""

    operator: str = Field(examples=["RETRY"], description="ROLLBACK, RETRY, CANCEL or PASS")
