"""The shapes that travel over the API, named and spelled as OBShell's.

Answers are built from these models and clients parse them with the same ones. Requests are read
as Go's decoder reads them: names in any case, null as absent, unknown names ignored, and no value
of one type taken for another.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

T = TypeVar("T")

NANOSECONDS = 1_000_000_000


def rfc3339(nanoseconds: int) -> str:
    """A moment in the server's local offset, its fraction without trailing zeros."""
    seconds, fraction = divmod(nanoseconds, NANOSECONDS)
    local = datetime.fromtimestamp(seconds, UTC).astimezone()
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    offset = local.strftime("%z")
    zone = "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}"
    return f"{local:%Y-%m-%dT%H:%M:%S}{digits}{zone}"


Timestamp = Annotated[
    str | int,
    PlainSerializer(lambda value: rfc3339(value) if isinstance(value, int) else value, str),
    Field(description="RFC 3339 with the server's offset and up to nine fractional digits"),
]


# --- the envelope --------------------------------------------------------------------------------


class ApiError(BaseModel):
    """Why a request failed. ``code`` is an obsolete number, sent only where clients act on it."""

    code: int | None = None
    errCode: str
    message: str
    subErrors: list[Any] | None = None


class Envelope(BaseModel, Generic[T]):
    """What every answer with content is wrapped in; ``duration`` is in milliseconds."""

    successful: bool
    timestamp: Timestamp
    duration: int
    status: int
    traceId: str
    data: T | None = None
    error: ApiError | None = None


class Contents(BaseModel, Generic[T]):
    """The wrapping of every list."""

    contents: list[T]


# --- requests ------------------------------------------------------------------------------------


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
    masterPassword: str = ""


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


# --- tasks ---------------------------------------------------------------------------------------


class ExecuteAgent(BaseModel):
    """The agent a sub task is for."""

    ip: str
    port: int


class TaskDetailDTO(BaseModel):
    """A sub task; ``task_logs`` is null before it has run."""

    id: str
    task_id: int
    name: str
    state: str
    operator: str
    start_time: Timestamp
    end_time: Timestamp
    additional_data: dict[str, Any] | None = None
    execute_times: int
    execute_agent: ExecuteAgent
    task_logs: list[str] | None = None


class NodeDetailDTO(BaseModel):
    """A stage of a DAG."""

    id: str
    node_id: int
    name: str
    state: str
    operator: str
    start_time: Timestamp
    end_time: Timestamp
    additional_data: dict[str, Any] | None = None
    sub_tasks: list[TaskDetailDTO] | None = None


class DagDetailDTO(BaseModel):
    """A DAG; ``nodes`` and ``additional_data`` are null unless details were asked for."""

    id: str
    dag_id: int
    name: str
    stage: int
    max_stage: int
    maintenance_type: int
    maintenance_key: str
    state: str
    operator: str
    start_time: Timestamp
    end_time: Timestamp
    additional_data: dict[str, Any] | None = None
    nodes: list[NodeDetailDTO] | None = None


class SubTaskLog(BaseModel):
    """A line of a sub task's log."""

    id: int
    sub_task_id: int
    execute_times: int
    log_content: str
    is_sync: bool = True
    create_time: Timestamp
    update_time: Timestamp


# --- what a stop would do ------------------------------------------------------------------------


class PreviewTarget(BaseModel):
    """A server that would be stopped, and the agent beside it.

    ``status`` is ACTIVE, INACTIVE, DELETING or STOPPED; ``obState``, ``pid`` and ``sessions`` are
    null where they could not be asked for. ``sessions`` are those that would be cut.
    """

    agent: str
    svr_ip: str
    svr_port: int
    zone: str
    status: str
    obState: int | None
    pid: int | None
    sessions: int | None


class PreviewStage(BaseModel):
    """A stage that the task would have."""

    stage: int
    name: str


class PreviewLogStream(BaseModel):
    """What would be left of a log stream: ``in_sync`` of ``paxos_replica_num`` replicas."""

    ls_id: int
    kept: bool
    in_sync: int
    paxos_replica_num: int


class PreviewTenant(BaseModel):
    """Whether all log streams of a tenant would keep their majority."""

    tenant_name: str
    kept: bool
    log_streams: list[PreviewLogStream]


class PreviewRefusal(BaseModel):
    """A reason for which the request itself would be refused."""

    errCode: str
    message: str


class StopPreview(BaseModel):
    """``POST /ob/stop`` with ``dryRun``: what would be done, and why it would be refused.

    ``majority`` is empty where each server is whole by itself, and null if it could not be found
    out. ``last_duration_ms`` is what the last such stop took that succeeded at this agent.
    """

    name: str
    mode: str
    scope: str
    targets: list[PreviewTarget]
    stages: list[PreviewStage]
    majority: list[PreviewTenant] | None
    refusals: list[PreviewRefusal]
    last_duration_ms: int | None


# --- agents --------------------------------------------------------------------------------------


class AgentWithIdentity(BaseModel):
    """An agent's address and what it is in its cluster."""

    ip: str
    port: int
    identity: str


class AgentSecret(BaseModel):
    """``GET /secret``: the key that requests to this agent are encrypted with."""

    ip: str
    port: int
    public_key: str = Field(description="PKCS#1 RSAPublicKey, DER, base64")


class AgentStatus(BaseModel):
    """``GET /status``: ``state`` is the agent's (2 running), ``obState`` its server's (0 to 3)."""

    agent: AgentWithIdentity
    state: int
    version: str
    pid: int
    startAt: int = Field(description="nanoseconds since the epoch")
    port: int
    obState: int
    sqlPort: int | None = None
    underMaintenance: bool


class AgentInfoDTO(BaseModel):
    """``GET /info``."""

    pid: int
    state: int
    startAt: int
    homePath: str
    obVersion: str
    architecture: str
    ip: str
    port: int
    zone: str
    identity: str
    version: str
    isObproxyAgent: bool
    security: bool
    supportedAuth: list[str]


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
    """``GET /ob/info``."""

    agent_info: list[AgentInstance] | None
    obcluster_info: ObclusterInfo
