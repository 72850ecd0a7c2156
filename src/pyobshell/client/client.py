"""One typed client of the API, over HTTP(S) with hybrid encryption or over a local socket."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

import httpx

from pyobshell.address import Address
from pyobshell.client.failures import ApiError, Unreachable
from pyobshell.client.transport import over_socket, over_tcp
from pyobshell.wire import (
    API_PREFIX,
    AgentInfoDTO,
    AgentStatus,
    AuditTrail,
    ClusterParameter,
    DagDetailDTO,
    DagsOfAgents,
    NodeDetailDTO,
    ObInfo,
    RotatedKey,
    StopPreview,
    TaskDetailDTO,
)

if TYPE_CHECKING:
    from pyobshell.security.keys import PublicKey

_DECRYPT_FAILED = "Security.Authentication.Header.DecryptFailed"
_TIMEOUT_S = 60.0
_CONNECT_TIMEOUT_S = 5.0
_HOLD_MS = 5000
_ENDED = ("SUCCEED", "FAILED")


class Client:
    """The API of one agent, to be used as an async context manager.

    ``password`` is that of root@sys; ``agent_password`` is used instead where given. An answer is
    waited for ``patience_s`` (None: a minute). With ``tls`` HTTPS is spoken;
    ``pyobshell.security.tls.calling_context`` makes one from files.
    """

    def __init__(
        self,
        address: Address,
        password: str = "",
        *,
        agent_password: str | None = None,
        patience_s: float | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._start(f"{'https' if tls else 'http'}://{address}", over_tcp(tls), patience_s)
        self.name = str(address)
        self._socket: Path | None = None
        self._encrypts = True
        self._password = password
        self._agent_password = agent_password

    @classmethod
    def local(cls, socket: Path, patience_s: float | None = None) -> Self:
        """The agent that listens on a socket of this host; its own user needs no password."""
        client = cls.__new__(cls)
        client._start("http://localhost", over_socket(socket), patience_s)
        client.name = str(socket)
        client._socket = socket
        client._encrypts = False
        client._agent_password = None
        return client

    def _start(
        self, base_url: str, transport: httpx.AsyncHTTPTransport, patience_s: float | None
    ) -> None:
        self._public_key: PublicKey | None = None
        timeout = httpx.Timeout(patience_s or _TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
        self._http = httpx.AsyncClient(base_url=base_url, transport=transport, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    # --- what an agent can be asked ------------------------------------------------------------

    async def info(self) -> AgentInfoDTO:
        """What the agent is."""
        return AgentInfoDTO.model_validate(await self.call("GET", "/info"))

    async def status(self) -> AgentStatus:
        """How the agent and its server are."""
        return AgentStatus.model_validate(await self.call("GET", "/status"))

    async def ob_info(self) -> ObInfo:
        """The cluster's agents and servers."""
        return ObInfo.model_validate(await self.call("GET", "/ob/info"))

    async def join(self, master: Address, zone: str, master_password: str = "") -> DagDetailDTO:
        """Have the agent follow ``master``, or lead if that is its own address."""
        body = {"agentInfo": master.wire, "zoneName": zone, "masterPassword": master_password}
        return await self._task("/agent/join", body)

    async def set_agent_password(self, password: str) -> None:
        """Give the agent a password of its own, or another one; it is used from then on."""
        await self.call("POST", "/agent/password", {"password": password})
        self._agent_password = password

    async def rotate_key(self, bits: int) -> RotatedKey:
        """Give the agent a new key; the members that could not be told are named."""
        return RotatedKey.model_validate(
            await self.call("POST", "/agent/rotate-key", {"key_bits": bits})
        )

    async def remove(self, agent: Address) -> DagDetailDTO | None:
        """Remove an agent from a cluster that is not initialized; None: nothing to do."""
        return _task_or_none(await self.call("POST", "/agent/remove", agent.wire))

    async def configure_cluster(self, name: str, cluster_id: int, password: str) -> DagDetailDTO:
        """Set name, id and root password of a cluster to be."""
        body = {"clusterName": name, "clusterId": cluster_id, "rootPwd": password}
        return await self._task("/obcluster/config", body)

    async def configure_servers(
        self, options: dict[str, str], scope: str, target: list[str]
    ) -> DagDetailDTO:
        """Set options of the servers to be."""
        body = {"observerConfig": options, "scope": {"type": scope, "target": target}}
        return await self._task("/observer/config", body)

    async def initialize(
        self, *, create_proxyro_user: bool = False, proxyro_password: str = ""
    ) -> DagDetailDTO:
        """Make the cluster."""
        body = {"create_proxyro_user": create_proxyro_user, "proxyro_password": proxyro_password}
        return await self._task("/ob/init", body)

    async def parameters(self) -> list[ClusterParameter]:
        """The parameters of a distributed cluster, with their values on every server."""
        data = await self.call("GET", "/obcluster/parameters")
        return [ClusterParameter.model_validate(one) for one in data["contents"]]

    async def set_parameters(self, params: list[dict[str, Any]]) -> None:
        """Set parameters: items of ``name``, ``value``, ``scope`` (CLUSTER or TENANT), and where:
        ``zones``, ``servers`` (``ip:rpc_port``), ``tenants``, ``all_user_tenant``.
        """
        await self.call("PATCH", "/obcluster/parameters", {"params": params})

    async def stop(
        self,
        scope: str,
        target: list[str],
        *,
        force: bool = False,
        terminate: bool = False,
        force_pass_dag: list[str] | None = None,
    ) -> DagDetailDTO:
        """Stop the servers of a scope."""
        body = _stop_body(scope, target, force, terminate, force_pass_dag)
        return await self._task("/ob/stop", body)

    async def preview_stop(
        self,
        scope: str,
        target: list[str],
        *,
        force: bool = False,
        terminate: bool = False,
        force_pass_dag: list[str] | None = None,
    ) -> StopPreview:
        """What a stop would do, and why it would be refused; nothing is done."""
        body = _stop_body(scope, target, force, terminate, force_pass_dag)
        found = await self.call("POST", "/ob/stop", {**body, "dryRun": True})
        return StopPreview.model_validate(found)

    async def stop_zone(
        self, zone: str, *, freeze_server: bool = False, force_pass_dag: list[str] | None = None
    ) -> DagDetailDTO:
        """Take a zone out of service, then kill its servers; flushed before if so wished."""
        body = {"freeze_server": freeze_server, "forcePassDag": force_pass_dag or []}
        return await self._task(f"/ob/zone/{quote(zone, safe='')}/stop", body)

    async def check_stop_zone(self, zone: str) -> None:
        """Raise ApiError with the reason for which a zone could not be stopped now."""
        await self.call("POST", f"/ob/zone/{quote(zone, safe='')}/stop/check", {})

    async def start(
        self, scope: str, target: list[str], *, force_pass_dag: list[str] | None = None
    ) -> DagDetailDTO:
        """Start the servers of a scope."""
        body = {"scope": {"type": scope, "target": target}, "forcePassDag": force_pass_dag or []}
        return await self._task("/ob/start", body)

    async def restart(
        self,
        scope: str,
        target: list[str],
        *,
        terminate: bool = True,
        force_pass_dag: list[str] | None = None,
    ) -> DagDetailDTO:
        """Restart the servers of a scope, one zone after the other."""
        body = {
            "scope": {"type": scope, "target": target},
            "rolling": True,
            "terminate": terminate,
            "forcePassDag": force_pass_dag or [],
        }
        return await self._task("/ob/restart", body)

    async def scale_out(
        self, agent: Address, zone: str, options: dict[str, str], agent_password: str = ""
    ) -> DagDetailDTO:
        """Take a SINGLE agent into the cluster, with a new server in that zone."""
        body = {
            "agentInfo": agent.wire,
            "zone": zone,
            "obConfigs": options,
            "targetAgentPassword": agent_password,
        }
        return await self._task("/ob/scale_out", body)

    async def scale_in(
        self, agent: Address, *, force_kill: bool = False, remove_data: bool = False
    ) -> DagDetailDTO | None:
        """Remove a server and its agent from the cluster; None: it is none of it."""
        body = {
            "agent_info": agent.wire,
            "force_kill": force_kill,
            "remove_data": remove_data,
        }
        return _task_or_none(await self.call("POST", "/ob/scale_in", body))

    async def delete_zone(self, zone: str) -> DagDetailDTO | None:
        """Remove a zone without resource units; None: there is no such zone."""
        return _task_or_none(await self.call("DELETE", f"/zone/{quote(zone, safe='')}"))

    async def dag(
        self, task_id: str, *, details: bool = True, hold_ms: int = 0, seen_stage: int | None = None
    ) -> DagDetailDTO:
        """A task; the answer is held up to ``hold_ms`` while it runs (in ``seen_stage``)."""
        query = f"show_details={'true' if details else 'false'}&hold_ms={hold_ms}"
        if seen_stage is not None:
            query += f"&seen_stage={seen_stage}"
        return DagDetailDTO.model_validate(await self.call("GET", f"/task/dag/{task_id}?{query}"))

    async def node(self, task_id: str) -> NodeDetailDTO:
        """A stage of a task."""
        return NodeDetailDTO.model_validate(await self.call("GET", f"/task/node/{task_id}"))

    async def sub_task(self, task_id: str) -> TaskDetailDTO:
        """One agent's part of a stage."""
        return TaskDetailDTO.model_validate(await self.call("GET", f"/task/sub_task/{task_id}"))

    async def operate(self, task_id: str, operator: str) -> None:
        """Apply ROLLBACK, RETRY, CANCEL or PASS to a task."""
        await self.call("POST", f"/task/dag/{task_id}", {"operator": operator})

    async def unfinished(self) -> DagsOfAgents:
        """The tasks of all agents that have not ended, or failed and hold a lock."""
        return DagsOfAgents.model_validate(await self.call("GET", "/task/dag/unfinish"))

    async def unfinished_here(self) -> list[DagDetailDTO]:
        """Those of this agent alone, which no other agent is asked for."""
        data = await self.call("GET", "/task/dag/agent/unfinish")
        return [DagDetailDTO.model_validate(one) for one in data["contents"]]

    async def main_dags(self) -> DagsOfAgents:
        """The tasks that hold agents, which may have failed: RETRY is for them."""
        return DagsOfAgents.model_validate(await self.call("GET", "/task/dag/agent/main_dags"))

    async def newest_maintenance(self) -> DagsOfAgents:
        """For each agent its newest maintenance task."""
        return DagsOfAgents.model_validate(await self.call("GET", "/task/dag/maintain/agents"))

    async def audit(
        self,
        *,
        since: str | None = None,
        until: str | None = None,
        who: str | None = None,
        path: str | None = None,
        dag: str | None = None,
        failed: bool = False,
        limit: int | None = None,
        only_this_agent: bool = False,
    ) -> AuditTrail:
        """Who asked for what, the newest first, of all agents; moments are RFC 3339, or ``24h``."""
        filters = {"since": since, "until": until, "who": who, "path": path, "dag": dag}
        filters |= {"failed": "true"} if failed else {}
        filters |= {"scope": "agent"} if only_this_agent else {}
        filters |= {} if limit is None else {"limit": str(limit)}
        query = urlencode({name: v for name, v in filters.items() if v is not None})
        found = await self.call("GET", "/audit" + (f"?{query}" if query else ""))
        return AuditTrail.model_validate(found)

    async def follow(self, task_id: str) -> AsyncIterator[DagDetailDTO]:
        """A task as it goes: once at first, then after each stage, last when it has ended."""
        dag = await self.dag(task_id)
        yield dag
        while dag.state not in _ENDED:
            dag = await self.dag(task_id, hold_ms=_HOLD_MS, seen_stage=dag.stage)
            yield dag

    # --- how it is asked -------------------------------------------------------------------------

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """The data of any route under ``/api/v1``.

        Raises ApiError when the agent refuses, Unreachable when there is none. An agent whose key
        has changed is asked once more.
        """
        try:
            return await self._send(method, API_PREFIX + path, body)
        except ApiError as error:
            if error.code != _DECRYPT_FAILED:
                raise
        self._public_key = None
        return await self._send(method, API_PREFIX + path, body)

    async def _send(self, method: str, target: str, body: Any) -> Any:
        content = None if body is None else json.dumps(body).encode()
        headers: dict[str, str] = {}
        if self._encrypts:
            # Here, for a command on the local socket is sooner done without cryptography.
            from pyobshell.security.hybrid import seal_request

            sealed = seal_request(
                await self._key(),
                password=self._password if self._agent_password is None else self._agent_password,
                uri=target,
                body=content,
                now=time.time(),
            )
            name = "X-OCS-Header" if self._agent_password is None else "X-OCS-Agent-Header"
            headers, content = {name: sealed.header_value}, sealed.body
        return await self._exchange(method, target, content, headers)

    async def _key(self) -> PublicKey:
        if self._public_key is None:
            from pyobshell.security.keys import PublicKey

            secret = await self._exchange("GET", API_PREFIX + "/secret", None, {})
            self._public_key = PublicKey.from_text(secret["public_key"])
        return self._public_key

    async def _exchange(
        self, method: str, target: str, content: bytes | None, headers: dict[str, str]
    ) -> Any:
        try:
            response = await self._http.request(method, target, content=content, headers=headers)
        except (httpx.HTTPError, ssl.SSLError) as error:
            silent = isinstance(error, httpx.TimeoutException)
            cause = "it gives no answer" if silent else str(error) or type(error).__name__
            raise Unreachable(self.name, cause, socket=self._socket, silent=silent) from error
        if response.status_code == httpx.codes.NO_CONTENT:
            return None
        try:
            envelope = response.json()
            if response.is_success:
                return envelope.get("data")
            refusal = envelope["error"]
            raise ApiError(response.status_code, refusal["errCode"], refusal["message"])
        except (ValueError, KeyError, TypeError):
            raise Unreachable(self.name, "what answers there is no agent") from None

    async def _task(self, path: str, body: dict[str, Any]) -> DagDetailDTO:
        return DagDetailDTO.model_validate(await self.call("POST", path, body))


def _stop_body(
    scope: str, target: list[str], force: bool, terminate: bool, force_pass_dag: list[str] | None
) -> dict[str, Any]:
    return {
        "scope": {"type": scope, "target": target},
        "force": force,
        "terminate": terminate,
        "forcePassDag": force_pass_dag or [],
    }


def _task_or_none(data: Any) -> DagDetailDTO | None:
    return None if data is None else DagDetailDTO.model_validate(data)
