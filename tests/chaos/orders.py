"""Operations as clients ask for them, and what became of them."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

from chaos.box import PACE_S, Answers, Box
from chaos.plans import Mode, Operation
from pyobshell.client import ApiError, Client, Unreachable
from pyobshell.wire import DagDetailDTO

ENDED = ("SUCCEED", "FAILED")
_LOOKS = ("Advance agents to execute", "Execute stop sql", "Stop ", "Restart observers of")
_NAMES = {Mode.START: "Start OB", Mode.RESTART: "Rolling restart"}


class Order:
    """One operation that was asked for; ``dag`` is its task as it was seen last."""

    def __init__(self, box: Box, operation: Operation) -> None:
        self.box = box
        self.operation = operation
        self.dag: DagDetailDTO | None = None
        self.refusal: ApiError | None = None
        self.asked_at = 0.0
        self.operators: list[str] = []
        self._moved = asyncio.Condition()

    def __str__(self) -> str:
        return f"{self.operation}: {self.outcome}"

    @property
    def outcome(self) -> str:
        """SUCCEED, FAILED, refused (nothing was recorded), or unknown."""
        if self.refusal is not None:
            return f"refused ({self.refusal.code})"
        return "unknown" if self.dag is None else self.dag.state

    @property
    def why(self) -> str:
        """The last words of what failed, or of the refusal."""
        if self.refusal is not None:
            return str(self.refusal)
        nodes = (self.dag and self.dag.nodes) or []
        failed = [task for node in nodes for task in node.sub_tasks or [] if task.state == "FAILED"]
        return "; ".join(task.task_logs[-1] for task in failed if task.task_logs)

    @property
    def is_over(self) -> bool:
        """Whether no agent works on it any more."""
        return self.refusal is not None or (self.dag is not None and self.dag.state in ENDED)

    @property
    def succeeded(self) -> bool:
        """Whether it was carried out by itself: nobody passed it."""
        return self.dag is not None and self.dag.state == "SUCCEED" and not self.operators

    async def reached(self, stage: int, patience_s: float) -> bool:
        """Return once the stage is reached, or patience is over; False: it is over before."""
        try:
            async with asyncio.timeout(patience_s), self._moved:
                await self._moved.wait_for(lambda: self.is_over or self._stage() >= stage)
        except TimeoutError:
            return True
        return not self.is_over or self._stage() >= stage

    async def ask(self) -> None:
        """Ask for it, and follow it until it is over."""
        self.asked_at = time.time()
        host = self.box.hosts[self.operation.asked]
        try:
            await self._see(await self._send(host.client))
        except ApiError as error:
            async with self._moved:
                self.refusal = error
                self._moved.notify_all()
        except Unreachable:
            return  # killed before it could answer; ``find`` tells what it recorded
        await self.follow()

    async def follow(self, patience_s: float = 120.0) -> None:
        """Follow the task until it has ended; raises TimeoutError if it does not."""
        async with asyncio.timeout(patience_s):
            while self.dag is not None and not self.is_over:
                task_id, stage = self.dag.id, self.dag.stage
                await self._see(
                    await self.box.ask(
                        lambda client, task_id=task_id, stage=stage: client.dag(
                            task_id, hold_ms=1000, seen_stage=stage
                        ),
                        patience_s,
                    )
                )

    async def find(self) -> None:
        """Find out what the agent that did not answer has recorded; it must be up again."""
        if self.dag is not None or self.refusal is not None:
            return
        client = self.box.hosts[self.operation.asked].client
        data = await client.call("GET", "/task/dags/agent")
        found = [DagDetailDTO.model_validate(one) for one in data["contents"]]
        name = _NAMES.get(self.operation.mode, "Stop OB")
        for dag in sorted(found, key=lambda one: one.dag_id):
            if dag.name == name and _seconds(dag.start_time) >= self.asked_at - PACE_S:
                self.dag = dag
        if self.dag is None:
            self.refusal = ApiError(0, "no answer, nothing recorded", "the agent was killed")

    async def operate(self, operator: str) -> None:
        """Apply an operator to the task, if it can be; and follow it."""
        if self.dag is None:
            return
        task_id = self.dag.id
        try:
            await self.box.hosts[self.operation.asked].client.operate(task_id, operator)
        except Answers:
            return
        self.operators.append(operator)
        await self._see(await self.box.ask(lambda client: client.dag(task_id)))

    def looked_at(self, at: float) -> float:
        """When it had last to see what a loss at that time would take (seconds since 1970)."""
        nodes = (self.dag and self.dag.nodes) or []
        begun = [
            _seconds(node.start_time)
            for node in nodes
            if node.name.startswith(_LOOKS) and node.state != "PENDING"
        ]
        return max((one for one in begun if one <= at), default=self.asked_at)

    def _stage(self) -> int:
        return 0 if self.dag is None else self.dag.stage

    async def _see(self, dag: DagDetailDTO) -> None:
        async with self._moved:
            self.dag = dag
            self._moved.notify_all()

    async def _send(self, client: Client) -> DagDetailDTO:
        operation = self.operation
        if operation.scope == "ZONE":
            target = list(operation.zones)
        elif operation.scope == "SERVER":
            target = [self.box.hosts[number].member.address for number in operation.servers]
        else:
            target = []
        left = list(operation.force_pass)
        match operation.mode:
            case Mode.START:
                return await client.start(operation.scope, target, force_pass_dag=left)
            case Mode.RESTART:
                return await client.restart(operation.scope, target, terminate=operation.flushed)
            case Mode.ZONE_ROUTE:
                return await client.stop_zone(target[0], freeze_server=operation.flushed)
        force, terminate = (operation.mode is one for one in (Mode.FORCE, Mode.TERMINATE))
        return await client.stop(operation.scope, target, force=force, terminate=terminate)


def _seconds(timestamp: str | int) -> float:
    return datetime.fromisoformat(str(timestamp)).timestamp()
