"""Operations as clients ask for them, and what became of them."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import datetime

from chaos.box import Answers, Box
from chaos.plans import Mode, Operation
from chaos.store import Store
from pyobshell.client import ApiError, Client, Unreachable
from pyobshell.wire import DagDetailDTO

ENDED = ("SUCCEED", "FAILED")
_ALIVE = ("READY", "RUNNING")
_SIGHT_S = 0.001  # the shortest stages last for some milliseconds
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
        self.obstacles: list[str] = []
        self.is_given_up = False
        self._host = box.hosts[operation.asked]
        self._store = Store(self._host.place.agent.base_dir)
        self._recorded_before = 0

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
    def was_passed(self) -> bool:
        """Whether somebody declared it done."""
        return self.dag is not None and self.dag.operator == "PASS"

    @property
    def succeeded(self) -> bool:
        """Whether it was carried out."""
        return self.outcome == "SUCCEED" and not self.was_passed

    @property
    def keeps_agents(self) -> bool:
        """Whether it has failed and holds the agents, so that RETRY goes on from there."""
        if self.dag is None or self.dag.state != "FAILED" or self.is_given_up:
            return False
        return self.operation.mode is Mode.RESTART and 2 < self.dag.stage < self.dag.max_stage

    @property
    def allows_pass(self) -> bool:
        """Whether it has failed where it may be declared done: never with turns to come."""
        if self.dag is None or self.dag.state != "FAILED":
            return False
        return self.operation.mode is not Mode.RESTART or self.dag.stage == self.dag.max_stage

    def stage_now(self) -> int | None:
        """The stage that its agent works on, as it is on disk; None: on none."""
        number = self._number()
        standing = self._store.standing(number) if number else None
        return standing[0] if standing and standing[1] in _ALIVE else None

    async def reached(self, stage: int, patience_s: float) -> bool:
        """Return once the stage has begun, or patience is over; False: it is over before."""
        end = time.monotonic() + patience_s
        while not self.asked_at or (stage and (self.stage_now() or 0) < stage):
            if self.is_over or time.monotonic() > end:
                break
            await asyncio.sleep(_SIGHT_S)  # a file tells nobody of its change
        return not self.is_over or (self.stage_now() or 0) >= stage

    async def failed(self, patience_s: float) -> bool:
        """Return True once it has failed; False: it has not within the patience."""
        end = time.monotonic() + patience_s
        while not (self.is_over and self.outcome != "FAILED") and time.monotonic() < end:
            number = self._number()
            standing = self._store.standing(number) if number else None
            if standing and standing[1] == "FAILED":
                return True
            await asyncio.sleep(_SIGHT_S)  # as above
        return False

    async def ask(self) -> None:
        """Ask for it; if the agent is killed before it can answer, ``find`` tells what it did."""
        self._recorded_before = self._store.newest()
        self.asked_at = time.time()
        try:
            self.dag = await self._send(self._host.client)
        except ApiError as error:
            self.refusal = error
        except Unreachable:
            return

    async def follow(self, patience_s: float = 150.0) -> None:
        """Follow the task until it has ended; raises TimeoutError if it does not."""
        async with asyncio.timeout(patience_s):
            while self.dag is not None and not self.is_over:
                task_id, stage = self.dag.id, self.dag.stage
                self.dag = await self.box.ask(
                    lambda client, task_id=task_id, stage=stage: client.dag(
                        task_id, hold_ms=1000, seen_stage=stage
                    ),
                    patience_s,
                )

    async def find(self) -> None:
        """Find out what the agent that did not answer has recorded; it must be up again."""
        if self.dag is not None or self.refusal is not None:
            return
        number = self._number()
        data = await self._host.client.call("GET", "/task/dags/agent")
        found = [DagDetailDTO.model_validate(one) for one in data["contents"]]
        self.dag = next((dag for dag in found if dag.dag_id == number), None)
        if self.dag is None:
            self.refusal = ApiError(0, "no answer, nothing recorded", "the agent was killed")

    async def operate(self, operator: str, client: Client | None = None) -> bool:
        """Apply an operator to the task, and see what becomes of that; False: it was refused."""
        if self.dag is None and self._number():  # who asked was not told of it
            with suppress(*Answers):
                await self.find()
        if self.dag is None:
            return False
        task_id = self.dag.id
        try:
            await (client or self._host.client).operate(task_id, operator)
        except Answers:
            return False
        await self.look()
        return True

    async def look(self) -> None:
        """See the task as it is."""
        if self.dag is not None:
            task_id = self.dag.id
            self.dag = await self.box.ask(lambda client: client.dag(task_id))

    def close(self) -> None:
        """Nobody looks at it any more."""
        self._store.close()

    def looked_at(self, at: float) -> float:
        """When it had last to see what a loss at that time would take (seconds since 1970)."""
        nodes = (self.dag and self.dag.nodes) or []
        begun = [
            _seconds(node.start_time)
            for node in nodes
            if node.name.startswith(_LOOKS) and node.state != "PENDING"
        ]
        return max((one for one in begun if one <= at), default=self.asked_at)

    def _number(self) -> int | None:
        """Its task's number at its coordinator, once that has recorded one."""
        if self.dag is not None:
            return self.dag.dag_id
        if not self.asked_at:
            return None
        name = _NAMES.get(self.operation.mode, "Stop OB")
        recorded = self._store.recorded_since(self._recorded_before, name)
        stages = len(self.operation.stages(self.box.scene))
        # What else was recorded may be another's, through the same agent at the same time.
        return next((number for number, last in recorded if last == stages), None)

    async def _send(self, client: Client) -> DagDetailDTO:
        operation = self.operation
        if operation.scope == "ZONE":
            target = list(operation.zones)
        elif operation.scope == "SERVER":
            target = [self.box.hosts[one].place.agent.address for one in operation.servers]
        else:
            target = []
        left = list(operation.force_pass)
        match operation.mode:
            case Mode.START:
                return await client.start(operation.scope, target, force_pass_dag=left)
            case Mode.RESTART:
                return await client.restart(
                    operation.scope, target, terminate=operation.flushed, force_pass_dag=left
                )
            case Mode.ZONE_ROUTE:
                return await client.stop_zone(
                    target[0], freeze_server=operation.flushed, force_pass_dag=left
                )
        force, terminate = (operation.mode is one for one in (Mode.FORCE, Mode.TERMINATE))
        return await client.stop(
            operation.scope, target, force=force, terminate=terminate, force_pass_dag=left
        )


def _seconds(timestamp: str | int) -> float:
    return datetime.fromisoformat(str(timestamp)).timestamp()
