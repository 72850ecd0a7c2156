"""The error catalogue: every refusal and failure a user can meet, in one place.

    OBShellError        one coded error: code, arguments, HTTP status, text in two languages
    └─ raised by calling an ErrorCode:  raise errors.ZONE_NOT_EXIST(zone="zone9")

Codes and HTTP statuses are OBShell's; they are the contract with its clients. The texts are ours.
The obsolete ``number`` is sent only where clients act on it: 1 makes the official SDK fetch the
public key anew, 10008 makes it authenticate anew. Any other number would disturb it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]


class OBShellError(Exception):
    """An error with a code of the catalogue; ``str()`` gives the English text.

    ``as_told`` is its text where that came from another release, whose arguments do not fit.
    """

    def __init__(
        self, code: ErrorCode, arguments: dict[str, object], as_told: str | None = None
    ) -> None:
        self.code = code
        self.arguments = arguments
        self.as_told = as_told
        super().__init__(self.text("en"))

    def text(self, language: Language) -> str:
        """The message for users, in the language asked for if it can be had."""
        if self.as_told is not None:
            return self.as_told
        template = self.code.zh if language == "zh" else self.code.en
        return template.format(**self.arguments)

    def logged(self) -> str:
        """The form in which a task log records it."""
        return f"ERROR: [{self.code.name}]: {self}"


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One kind of error: its dotted name, HTTP status, text in English and Chinese."""

    name: str
    status: int
    en: str
    zh: str
    number: int = 0

    def __call__(self, **arguments: object) -> OBShellError:
        return OBShellError(self, arguments)


def coded(error: BaseException) -> OBShellError:
    """The error itself if it has a code, else ``Common.Unexpected`` with its text as the cause."""
    if isinstance(error, OBShellError):
        return error
    told = getattr(error, "orig", None) or error  # of SQLAlchemy's: without statement and values
    return UNEXPECTED(cause=str(told) or type(told).__name__)


_E = ErrorCode

# ruff: disable[E501]
# --- any request ---------------------------------------------------------------------------------
BAD_REQUEST = _E("Common.BadRequest", 400, "Bad request: {cause}", "错误的请求：{cause}")
BIND_JSON_FAILED = _E(
    "Common.BindJsonFailed",
    400,
    "The request body does not fit: {cause}",
    "请求体不符合要求：{cause}",
)
NOT_FOUND = _E(
    "Common.NotFound", 404, "No such route: {method} {path}", "路由不存在：{method} {path}"
)
ILLEGAL_ARGUMENT = _E(
    "Common.IllegalArgument",
    400,
    "Parameter '{name}' is invalid: {reason}",
    "参数 '{name}' 无效：{reason}",
)
INVALID_ADDRESS = _E(
    "Common.InvalidAddress",
    400,
    "'{text}' is not an address of the form ip:port or [ipv6]:port",
    "'{text}' 不是 ip:port 或 [ipv6]:port 形式的地址",
)
INVALID_IP = _E("Common.InvalidIp", 400, "'{text}' is not an IP address", "'{text}' 不是 IP 地址")
INVALID_PORT = _E(
    "Common.InvalidPort",
    400,
    "'{text}' is not a port; it must be between 1025 and 65535",
    "'{text}' 不是有效端口，端口必须在 1025 到 65535 之间",
)
UNEXPECTED = _E("Common.Unexpected", 500, "Unexpected error: {cause}", "意外错误：{cause}")
MYSQL_ERROR = _E("MySQL.Error", 400, "The database refused: {cause}", "数据库拒绝执行：{cause}")

# --- credentials and encryption ------------------------------------------------------------------
HEADER_DECRYPT_FAILED = _E(
    "Security.Authentication.Header.DecryptFailed",
    401,
    "The request header cannot be decrypted; fetch the public key again from /api/v1/secret",
    "请求头无法解密，请从 /api/v1/secret 重新获取公钥",
    1,
)
HEADER_NOT_FOUND = _E(
    "Request.Header.NotFound", 400, "The request carries no authentication header", "请求缺少认证头"
)
TLS_REQUIRED = _E(
    "Request.Tls.Required",
    400,
    "This agent takes requests over TLS only: use https",
    "该 agent 仅接受 TLS 请求，请使用 https",
)
BODY_KEYS_INVALID = _E(
    "Request.Body.Decrypt.AES.KeyAndIv.Invalid",
    400,
    "The AES key and IV of the request are invalid",
    "请求的 AES 密钥和 IV 无效",
)
BODY_LENGTH_INVALID = _E(
    "Request.Body.Decrypt.AES.ContentLength.Invalid",
    400,
    "The encrypted body is malformed",
    "加密的请求体格式错误",
)
URI_MISMATCH = _E(
    "Security.Authentication.Header.UriMismatch",
    401,
    "Unauthorized: the header was made for another URI",
    "未授权：请求头中的 URI 与请求不一致",
    10008,
)
TIMESTAMP_INVALID = _E(
    "Security.Authentication.Timestamp.Invalid",
    401,
    "Unauthorized: the expiry of the header is invalid: {cause}",
    "未授权：请求头中的时间戳无效：{cause}",
    10008,
)
HEADER_REPLAYED = _E(
    "Security.Authentication.Header.Replayed",
    401,
    "Unauthorized: the header was used before; each request needs one of its own",
    "未授权：请求头已被使用过，每个请求都需要新的请求头",
    10008,
)
TOO_MANY_FAILURES = _E(
    "Security.Authentication.TooManyFailures",
    429,
    "Too many wrong passwords come from {address}; try again in some seconds, or on the agent's host "
    "over its local socket",
    "来自 {address} 的错误密码过多，请稍后重试，或在 agent 所在主机上通过本地套接字操作",
)
TOO_MANY_HEADERS = _E(
    "Security.Authentication.Header.TooMany",
    429,
    "Too many requests are made at once: no further headers can be remembered until some expire",
    "请求过多：在部分请求头过期之前无法接受新的请求",
)
EXPIRED = _E(
    "Security.Authentication.Expired",
    401,
    "Unauthorized: the header has expired; compare the clocks of client and server",
    "未授权：请求头已过期，请检查客户端与服务器的时钟",
    10008,
)
INCORRECT_OCEANBASE_PASSWORD = _E(
    "Security.Authentication.IncorrectOceanbasePassword",
    401,
    "Unauthorized: the password of root@sys is incorrect",
    "未授权：root@sys 的密码不正确",
    10008,
)
INCORRECT_AGENT_PASSWORD = _E(
    "Security.Authentication.IncorrectAgentPassword",
    401,
    "Unauthorized: the agent password is incorrect",
    "未授权：agent 密码不正确",
    10008,
)
WITH_AGENT_PASSWORD = _E(
    "Security.Authentication.WithAgentPassword",
    401,
    "Unauthorized: the agent password is needed",
    "未授权：需要 agent 密码",
    10008,
)
WITH_OCEANBASE_PASSWORD = _E(
    "Security.Authentication.WithOceanBasePassword",
    401,
    "Unauthorized: the password of root@sys is needed",
    "未授权：需要 root@sys 的密码",
    10008,
)
FOREIGN_USER = _E(
    "Security.User.PermissionDenied",
    401,
    "Only the agent's own user and root may ask over its local socket",
    "只有 agent 所属用户和 root 可以使用本地 socket",
)
AGENT_PASSWORD_NOT_INITIALIZED = _E(
    "Security.Authentication.AgentPasswordNotInitialized",
    401,
    "Unauthorized: the agent password is needed, and this agent has none; set one first",
    "未授权：需要 agent 密码，但该 agent 尚未设置，请先设置",
    10008,
)
INCORRECT_TOKEN = _E(
    "Security.Authentication.IncorrectToken",
    401,
    "Unauthorized: the peer could not prove who it is: {cause}",
    "未授权：对端无法证明其身份：{cause}",
    10008,
)
PEER_SESSION_UNKNOWN = _E(
    "Security.Peer.Session.Unknown",
    401,
    "The session between the agents is not known here; open it again",
    "未知的 agent 会话，请重新建立",
)

# --- agents --------------------------------------------------------------------------------------
IDENTITY_NOT_SUPPORTED = _E(
    "Agent.Identify.NotSupportOperation",
    400,
    "Agent {agent} is {identity}; this operation needs {needed}",
    "agent {agent} 的身份是 {identity}，该操作需要 {needed}",
)
AGENT_NOT_EXIST = _E(
    "Agent.NotExist",
    400,
    "Agent {agent} is not a member of the cluster",
    "agent {agent} 不是集群成员",
)
TLS_NOT_RELOADED = _E(
    "Agent.Tls.NotReloaded",
    400,
    "The certificate stays as it was: {cause}",
    "证书保持不变：{cause}",
)
AUDIT_NOT_RECORDED = _E(
    "Agent.Audit.NotRecorded",
    500,
    "Nothing was done, for the request could not be put on record: {cause}",
    "请求无法写入审计记录，因此未执行任何操作：{cause}",
)
KEY_NOT_WRITTEN = _E(
    "Agent.Key.NotWritten",
    500,
    "The agent keeps its present key, for a new one cannot be written to {file}: {cause}",
    "新密钥无法写入 {file}：{cause}，agent 仍使用现有密钥",
)
KEY_WOULD_BE_UNKNOWN = _E(
    "Agent.Key.WouldBeUnknown",
    500,
    "The agent keeps its present key: {agents} cannot be reached, and may have missed so many that a "
    "new one could not be proven to them; start or remove them first",
    "agent 仍使用现有密钥：无法连接 {agents}，可能已错过过多次密钥轮换，新密钥将无法向其证明；请先启动或移除",
)
ORDER_SUPERSEDED = _E(
    "Agent.Order.Superseded",
    500,
    "Agent {agent} was given an order alone, in an emergency, which is newer than this task",
    "agent {agent} 在紧急模式下单独执行过比该任务更新的指令",
)
AGENT_NO_MASTER = _E("Agent.NoMaster", 500, "This agent follows no master", "该 agent 没有 master")
AGENT_ALREADY_EXISTS = _E(
    "Agent.AlreadyExists", 500, "Agent {agent} is a member already", "agent {agent} 已经是成员"
)
AGENT_UNDER_MAINTENANCE = _E(
    "Agent.UnderMaintenance", 500, "Agent {agent} is under maintenance", "agent {agent} 正在维护中"
)
AGENT_UNDER_MAINTENANCE_DAG = _E(
    "Agent.UnderMaintenanceDag",
    500,
    "Agent {agent} is under maintenance by '{dag_name}' of DAG {main_dag_id}; name {main_dag_id} in forcePassDag to release it",
    "agent {agent} 正在被 DAG {main_dag_id} 的 '{dag_name}' 维护；可在 forcePassDag 中指定 {main_dag_id} 以释放",
)
MAINTAINER_NOT_ACTIVE = _E(
    "Agent.Maintainer.NotActive",
    500,
    "No agent maintains the cluster's tasks at the moment: {cause}",
    "当前没有 agent 负责维护集群任务：{cause}",
)
STORE_UNAVAILABLE = _E(
    "Agent.Store.Unavailable",
    500,
    "The agent's database {file} cannot be used: {cause}; to see what to do, on its host: obshell agent doctor --base-dir {base_dir}",
    "agent 的数据库 {file} 无法使用：{cause}；处理方法请在其主机上运行 obshell agent doctor --base-dir {base_dir}",
)
AGENT_VERSION_INCONSISTENT = _E(
    "Agent.Version.Inconsistent",
    400,
    "Agent {agent} has version {version}, agent {other} has {other_version}",
    "agent {agent} 的版本是 {version}，agent {other} 的版本是 {other_version}",
)
AGENT_OB_VERSION_INCONSISTENT = _E(
    "Agent.OB.Version.Inconsistent",
    400,
    "The server of agent {agent} has version {version}, that of {other} has {other_version}",
    "agent {agent} 的数据库版本是 {version}，{other} 的是 {other_version}",
)
RPC_REQUEST_FAILED = _E(
    "Agent.RPC.RequestFailed",
    500,
    "Agent {agent} cannot be reached for {method}: {cause}",
    "无法访问 agent {agent}（{method}）：{cause}",
)
RPC_REQUEST_ERROR = _E(
    "Agent.RPC.RequestError",
    500,
    "Agent {agent} answered {method} with an error: {cause}",
    "agent {agent} 对 {method} 返回错误：{cause}",
)

# --- cluster and servers -------------------------------------------------------------------------
SCOPE_INVALID = _E(
    "OB.Cluster.Scope.Invalid",
    400,
    "Scope type '{type}' is invalid; use GLOBAL, ZONE or SERVER",
    "scope 类型 '{type}' 无效，请使用 GLOBAL、ZONE 或 SERVER",
)
FORCE_STOP_OR_TERMINATE_REQUIRED = _E(
    "OB.Cluster.ForceStopOrTerminateRequired",
    400,
    "A GLOBAL stop needs 'force' or 'terminate'",
    "GLOBAL 停止需要 'force' 或 'terminate'",
)
STOP_MODE_CONFLICT = _E(
    "OB.Cluster.StopModeConflict",
    400,
    "'force' and 'terminate' exclude each other",
    "'force' 与 'terminate' 不能同时使用",
)
FORCE_STOP_REQUIRED = _E(
    "OB.Cluster.ForceStopRequired",
    400,
    "The server of this agent accepts no connection, which this stop needs; use 'force' with scope SERVER or GLOBAL, or ask an agent whose server is up",
    "本 agent 的数据库无法连接，而该停止方式需要连接；请以 SERVER 或 GLOBAL 范围使用 'force'，或请求数据库可用的 agent",
)
TENANT_REPLICA_INVALID = _E(
    "OB.Cluster.Tenant.Replica.Invalid",
    400,
    "Without {leaving} there would be no majority of: {tenants}; only 'force' does not ask",
    "失去 {leaving} 后，以下日志流将没有多数派：{tenants}；只有 'force' 不做此检查",
)
CLUSTER_NOT_INITIALIZED = _E(
    "OB.Cluster.NotInitialized", 400, "The cluster has not been initialized", "集群尚未初始化"
)
CLUSTER_ALREADY_INITIALIZED = _E(
    "OB.Cluster.AlreadyInitialized",
    400,
    "The cluster has been initialized already",
    "集群已经初始化",
)
CLUSTER_UNDER_MAINTENANCE_DAG = _E(
    "OB.Cluster.UnderMaintenanceWithDag",
    500,
    "The cluster is under maintenance by '{dag_name}', DAG {dag_id}",
    "集群正在被 '{dag_name}'（DAG {dag_id}）维护",
)
TENANT_UNDER_MAINTENANCE = _E(
    "OB.Tenant.UnderMaintenance",
    500,
    "Tenant '{tenant}' is under maintenance by '{dag_name}', DAG {dag_id}",
    "租户 '{tenant}' 正在被 '{dag_name}'（DAG {dag_id}）维护",
)
CLUSTER_ID_INVALID = _E(
    "OB.Cluster.Id.Invalid",
    400,
    "Cluster id {id} is invalid; it is 1 to 4294967295",
    "集群 ID {id} 无效，范围为 1 到 4294967295",
)
CLUSTER_NAME_EMPTY = _E("OB.Cluster.Name.Empty", 400, "The cluster name is empty", "集群名为空")
CLUSTER_ASYNC_TIMEOUT = _E(
    "OB.Cluster.AsyncOperationTimeout",
    500,
    "{operation} did not end within {seconds:g} s",
    "{operation} 未能在 {seconds:g} 秒内完成",
)
CLUSTER_MULTI_PAXOS_NOT_ALIVE = _E(
    "OB.Cluster.MultiPaxosNotAlive",
    400,
    "Without {servers} these log streams would lose their majority, or cannot be told to keep it: {streams}",
    "缺少 {servers} 时，以下日志流将失去多数派，或无法确认其保有多数派：{streams}",
)
CLUSTER_SCALE_OUT_HIGHER_VERSION = _E(
    "OB.Cluster.ScaleOutHigherVersion",
    400,
    "Agent {agent} has version {version}, which is newer than {own_version} of the cluster",
    "agent {agent} 的版本 {version} 高于集群的版本 {own_version}",
)
CLUSTER_SCALE_OUT_LOWER_VERSION = _E(
    "OB.Cluster.ScaleOutLowerVersion",
    400,
    "Agent {agent} has version {version}, which is older than {own_version} of the cluster; upgrade it first",
    "agent {agent} 的版本 {version} 低于集群的版本 {own_version}，请先升级",
)
MINOR_FREEZE_TIMEOUT = _E(
    "OB.Cluster.MinorFreezeTimeout",
    500,
    "The minor freeze of {server} did not end within {seconds:g} s",
    "{server} 的转储未能在 {seconds:g} 秒内完成",
)
ROLLING_RESTART_REFUSED = _E(
    "OB.Cluster.RollingRestart.Refused",
    400,
    "The restart of {turn} would not be safe now: {reason}",
    "现在重启 {turn} 不安全：{reason}",
)
ZONE_NOT_EXIST = _E("OB.Zone.NotExist", 400, "Zone '{zone}' does not exist", "zone '{zone}' 不存在")
ZONE_NAME_EMPTY = _E("OB.Zone.Name.Empty", 400, "The zone name is empty", "zone 名为空")
ZONE_NOT_EMPTY = _E(
    "OB.Zone.NotEmpty",
    400,
    "Zone '{zone}' still has {units} resource units; move or drop them first",
    "zone '{zone}' 仍有 {units} 个资源单元，请先迁移或删除",
)
ZONE_DELETE_SELF = _E(
    "OB.Zone.DeleteSelf",
    400,
    "Agent {agent} is in zone '{zone}' itself; ask an agent of another zone",
    "agent {agent} 自身位于 zone '{zone}'，请向其他 zone 的 agent 发送请求",
)
SERVER_DELETE_SELF = _E(
    "OB.Server.DeleteSelf",
    400,
    "Agent {agent} cannot remove itself; ask another agent of the cluster",
    "agent {agent} 不能移除自身，请向集群的其他 agent 发送请求",
)
SERVER_STOPPED_IN_MULTI_ZONE = _E(
    "OB.Server.StoppedInMultiZone",
    400,
    "Servers of more than one zone would be stopped: {detail}",
    "将有多个 zone 的服务器被停止：{detail}",
)
SERVER_PROCESS_NOT_EXIST = _E(
    "OB.Server.Process.NotExist",
    500,
    "The server process does not exist: {detail}",
    "数据库进程不存在：{detail}",
)
SERVER_PROCESS_CHECK_FAILED = _E(
    "OB.Server.Process.CheckFailed",
    500,
    "The server process could not be verified: {reason}",
    "无法确认数据库进程：{reason}",
)
SERVER_UNAVAILABLE = _E(
    "OB.Server.Unavailable", 500, "The server is not available: {reason}", "数据库不可用：{reason}"
)
OUTCOME_UNKNOWN = _E(
    "OB.Server.OutcomeUnknown",
    500,
    "Whether this was done is not known, look before you repeat it: {cause}",
    "无法得知是否已完成，请先确认再重试：{cause}",
)

# --- tasks ---------------------------------------------------------------------------------------
TASK_NOT_FOUND = _E(
    "Task.NotFound", 404, "Task not found: {reason}", "任务不存在（Task not found）：{reason}"
)
TASK_GENERIC_ID_INVALID = _E(
    "Task.GenericID.Invalid", 400, "'{id}' is not the id of a task", "'{id}' 不是任务 ID"
)
DAG_OPERATOR_NOT_SUPPORTED = _E(
    "Task.Dag.Operator.NotSupport",
    400,
    "Operator '{operator}' is not supported; use ROLLBACK, RETRY, CANCEL or PASS",
    "不支持操作 '{operator}'，请使用 ROLLBACK、RETRY、CANCEL 或 PASS",
)
DAG_ROLLBACK_NOT_FAILED = _E(
    "Task.Dag.Operator.RollbackNotFailedDag",
    400,
    "Only a FAILED task can be rolled back; this one is {state}",
    "只有 FAILED 的任务可以回滚，当前状态是 {state}",
)
DAG_PASS_NOT_FAILED = _E(
    "Task.Dag.Operator.PassNotFailedDag",
    400,
    "Only a FAILED task can be passed; this one is {state}",
    "只有 FAILED 的任务可以跳过，当前状态是 {state}",
)
DAG_RETRY_NOT_FAILED = _E(
    "Task.Dag.Operator.RetryNotFailedDag",
    400,
    "Only a FAILED task can be retried; this one is {state}",
    "只有 FAILED 的任务可以重试，当前状态是 {state}",
)
DAG_CANCEL_FINISHED = _E(
    "Task.Dag.Operator.CancelFinishedDag",
    400,
    "The task has ended already: {state}",
    "任务已经结束：{state}",
)
DAG_ROLLBACK_NOT_ALLOWED = _E(
    "Task.Dag.Operator.RollbackNotAllowed",
    400,
    "Stage '{stage}' does not allow ROLLBACK",
    "阶段 '{stage}' 不允许回滚",
)
DAG_CANCEL_NOT_ALLOWED = _E(
    "Task.Dag.Operator.CancelNotAllowed",
    400,
    "Stage '{stage}' does not allow CANCEL",
    "阶段 '{stage}' 不允许取消",
)
DAG_PASS_NOT_ALLOWED = _E(
    "Task.Dag.Operator.PassNotAllowed",
    400,
    "Stage '{stage}' does not allow PASS",
    "阶段 '{stage}' 不允许跳过",
)
DAG_RETRY_NOT_ALLOWED = _E(
    "Task.Dag.Operator.RetryNotAllowed",
    400,
    "Stage '{stage}' does not allow RETRY",
    "阶段 '{stage}' 不允许重试",
)
NODE_OPERATOR_NOT_SUPPORTED = _E(
    "Task.Node.Operator.NotSupport",
    400,
    "Operator '{operator}' is not supported for a node; use PASS",
    "节点不支持操作 '{operator}'，请使用 PASS",
)
NODE_PASS_NOT_FAILED_DAG = _E(
    "Task.Node.Operator.PassNotFailedDag",
    400,
    "A node can be passed only in a FAILED task; this one is {state}",
    "只有 FAILED 任务的节点可以跳过，当前状态是 {state}",
)
NODE_PASS_NOT_FAILED_NODE = _E(
    "Task.Node.Operator.PassNotFailedNode",
    400,
    "Only a FAILED node can be passed; this one is {state}",
    "只有 FAILED 的节点可以跳过，当前状态是 {state}",
)
NODE_PASS_NOT_ALLOWED = _E(
    "Task.Node.Operator.PassNotAllowed",
    400,
    "Stage '{stage}' does not allow PASS",
    "阶段 '{stage}' 不允许跳过",
)
SUB_DAG_NOT_ALL_CREATED = _E(
    "Task.SubDag.NotAllCreated",
    500,
    "Not every agent could prepare: {agents}",
    "并非所有 agent 都已准备：{agents}",
)
SUB_DAG_NOT_ALL_ADVANCED = _E(
    "Task.SubDag.NotAllAdvanced",
    500,
    "Not every agent could be told to go on: {agents}",
    "并非所有 agent 都已推进：{agents}",
)
SUB_DAG_NOT_ALL_SUCCEED = _E(
    "Task.SubDag.NotAllSucceed",
    500,
    "Not every agent succeeded: {agents}",
    "并非所有 agent 都成功：{agents}",
)
SUB_DAG_NOT_ALL_PASSED = _E(
    "Task.SubDag.NotAllPassed",
    500,
    "Not every agent could be released: {agents}",
    "并非所有 agent 都已释放：{agents}",
)
DAG_CANCEL_TIMEOUT = _E(
    "Task.Dag.CancelTimeout",
    500,
    "DAG {id} could not be cancelled within {seconds:g} s",
    "DAG {id} 未能在 {seconds:g} 秒内取消",
)
DAG_EXECUTE_TIMEOUT = _E(
    "Task.Dag.ExecuteTimeout",
    500,
    "Stage '{stage}' did not end within {seconds:g} s",
    "阶段 '{stage}' 未能在 {seconds:g} 秒内结束",
)
# ruff: enable[E501]
