"""The answers of the API, named and spelled as OBShell's.

They are built from these models, and clients parse them with the same ones.
"""

from pyobshell.wire.agents import (
    AgentInfoDTO,
    AgentSecret,
    AgentStatus,
    AgentWithIdentity,
    KeySuccession,
    RotatedKey,
    TlsCertificate,
    Unwritable,
)
from pyobshell.wire.audit import AuditRecord, AuditTrail
from pyobshell.wire.cluster import (
    AgentInstance,
    ClusterParameter,
    ObclusterInfo,
    ObInfo,
    ServerInfo,
    ServerParameterValue,
    TenantParameterValue,
)
from pyobshell.wire.envelope import (
    API_PREFIX,
    NANOSECONDS,
    ApiError,
    Contents,
    Envelope,
    Timestamp,
    UnreachableAgent,
    Unreached,
    rfc3339,
)
from pyobshell.wire.preview import (
    PreviewLogStream,
    PreviewRefusal,
    PreviewStage,
    PreviewTarget,
    PreviewTenant,
    StopPreview,
)
from pyobshell.wire.tasks import (
    DagDetailDTO,
    DagsOfAgents,
    ExecuteAgent,
    NodeDetailDTO,
    TaskDetailDTO,
    TaskLogDTO,
)

__all__ = [
    "API_PREFIX",
    "NANOSECONDS",
    "AgentInfoDTO",
    "AgentInstance",
    "AgentSecret",
    "AgentStatus",
    "AgentWithIdentity",
    "ApiError",
    "AuditRecord",
    "AuditTrail",
    "ClusterParameter",
    "Contents",
    "DagDetailDTO",
    "DagsOfAgents",
    "Envelope",
    "ExecuteAgent",
    "KeySuccession",
    "NodeDetailDTO",
    "ObInfo",
    "ObclusterInfo",
    "PreviewLogStream",
    "PreviewRefusal",
    "PreviewStage",
    "PreviewTarget",
    "PreviewTenant",
    "RotatedKey",
    "ServerInfo",
    "ServerParameterValue",
    "StopPreview",
    "TaskDetailDTO",
    "TaskLogDTO",
    "TenantParameterValue",
    "Timestamp",
    "TlsCertificate",
    "UnreachableAgent",
    "Unreached",
    "Unwritable",
    "rfc3339",
]
