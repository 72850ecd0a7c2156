"""The answers of the API, named and spelled as OBShell's.

They are built from these models, and clients parse them with the same ones.
"""

from __future__ import annotations

import operator
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

T = TypeVar("T")

API_PREFIX = "/api/v1"
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


class UnreachableAgent(BaseModel):
    """An agent that could not be asked, and why."""

    agent: str
    message: str


# Named only if there are any: existing clients know of none.
Unreached = Annotated[list[UnreachableAgent], Field(exclude_if=operator.not_)]


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


class TaskLogDTO(BaseModel):
    """A line of a sub task's log, from its execution number ``execute_times``.

    ``is_sync`` is always true: a line is where it belongs as soon as it is there at all.
    """

    id: int
    sub_task_id: int
    execute_times: int
    log_content: str
    is_sync: bool = True
    create_time: Timestamp
    update_time: Timestamp


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


class DagsOfAgents(Contents[DagDetailDTO]):
    """DAGs of several agents, without those of the agents that are ``unreachable``."""

    unreachable: Unreached = []


# --- who did what --------------------------------------------------------------------------------


class AuditRecord(BaseModel):
    """A request for a change; ``status`` is null if it was never answered.

    ``who`` is root@sys or, on the local socket, the user (``uid``) whose process (``pid``) asked.
    ``client`` is its ip, or ``local``; ``agent`` took it. ``body`` is without secrets. ``dag`` is
    the task that it led to or was about, ``dag_state`` how that is now: null if it is gone, or
    cannot be asked for. ``duration`` is in milliseconds.
    """

    number: int
    time: Timestamp
    trace_id: str
    who: str
    uid: int | None
    pid: int | None
    client: str
    agent: str
    method: str
    path: str
    body: Any
    status: int | None
    errCode: str | None
    dag: str | None
    dag_state: str | None
    duration: int | None


class AuditTrail(Contents[AuditRecord]):
    """Records, the newest first, without those of the agents that are ``unreachable``."""

    unreachable: list[UnreachableAgent]


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
    """A reason for which the request itself would be refused, or its task would fail."""

    errCode: str
    message: str


class StopPreview(BaseModel):
    """``POST /ob/stop`` with ``dryRun``: what would be done, and why it would be refused.

    ``majority`` is empty where each server is whole by itself, and null if it could not be found
    out. ``obstacles`` are what the task would meet on its way: an agent whose lock is held, which
    keeps it from beginning, a target that cannot be flushed, which keeps all from being killed, or
    one that cannot be reached, which fails alone.
    ``last_duration_ms`` is what the last such stop took that succeeded at this agent.
    ``emergency`` is why the agent would act alone, if it would.
    """

    name: str
    mode: str
    scope: str
    targets: list[PreviewTarget]
    stages: list[PreviewStage]
    majority: list[PreviewTenant] | None
    refusals: list[PreviewRefusal]
    obstacles: list[PreviewRefusal]
    last_duration_ms: int | None
    emergency: str | None = None


# --- agents --------------------------------------------------------------------------------------


class AgentWithIdentity(BaseModel):
    """An agent's address and what it is in its cluster."""

    ip: str
    port: int
    identity: str


class KeySuccession(BaseModel):
    """That a key has taken the place of another, signed with that one."""

    model_config = ConfigDict(frozen=True)

    old: str
    new: str
    signature: str = Field(description="PSS, SHA-256, base64")


class AgentSecret(BaseModel):
    """``GET /secret``: the key that requests to this agent are encrypted with."""

    ip: str
    port: int
    public_key: str = Field(description="PKCS#1 RSAPublicKey, DER, base64")
    successions: list[KeySuccession] = Field(
        default_factory=list,
        exclude_if=operator.not_,
        description="how the key came to take the place of earlier ones, if it did",
    )


class RotatedKey(BaseModel):
    """The new key of an agent, and the members that learn it later."""

    public_key: str = Field(description="PKCS#1 RSAPublicKey, DER, base64")
    key_bits: int
    unreachable: list[UnreachableAgent]


class Unwritable(BaseModel):
    """A file or directory that an agent's process cannot write to, and why."""

    file: str
    cause: str


class TlsCertificate(BaseModel):
    """The certificate that an agent shows: until when it is good, and its SHA-256 in hex."""

    notAfter: str
    sha256: str


class AgentStatus(BaseModel):
    """``GET /status``: ``state`` is the agent's (2 running), ``obState`` its server's (0 to 3).

    ``unidentified``, on the local socket alone, says of an agent that is so why it does not know
    yet what it is.
    """

    agent: AgentWithIdentity
    state: int
    version: str
    pid: int
    startAt: int = Field(description="nanoseconds since the epoch")
    port: int
    obState: int
    sqlPort: int | None = None
    underMaintenance: bool
    unidentified: str | None = None


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
    """``GET /ob/info``; agents that had to be asked about their servers may be ``unreachable``."""

    agent_info: list[AgentInstance] | None
    obcluster_info: ObclusterInfo
    unreachable: Unreached = []
