"""What a stop would do."""

from __future__ import annotations

from pydantic import BaseModel


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
