"""Follows a task to its end and says what to do when it fails; Ctrl-C cancels it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TextIO

from pyobshell.cli import output, text
from pyobshell.cli.again import once_mended
from pyobshell.cli.outcome import CommandError, Exit, Finished
from pyobshell.cli.place import Place
from pyobshell.cli.progress import View, view
from pyobshell.client import ApiError, Client, Unreachable
from pyobshell.wire import DagDetailDTO

# An answer is held no longer than this, so that the parts of a stage are seen to end, too.
_HOLD_MS = 1000
_NEVER_UNDONE = ("Stop OB", "Start OB")

Advice = Callable[[DagDetailDTO], list[str]]
Undo = Callable[[DagDetailDTO], Awaitable[DagDetailDTO]]


@dataclass(frozen=True)
class Follower:
    """Follows tasks of one agent, as a command was asked to show them.

    ``undo`` begins what brings a cancelled task's servers back.
    """

    client: Client
    where: Place
    as_json: bool = False
    verbose: bool = False
    advise: Advice = field(default=lambda _: [])
    cancels: bool = True
    undo: Undo | None = None

    @property
    def stream(self) -> TextIO:
        """Where progress is shown."""
        return output.progress_stream(as_json=self.as_json)

    async def follow(self, dag: DagDetailDTO, seen: DagDetailDTO | None = None) -> DagDetailDTO:
        """Show a task until it has ended, and return it.

        Interrupted, the command ends; it cancels the task as OBShell does if it had begun it.
        """
        with view(self.stream, verbose=self.verbose, seen=seen) as shown:
            try:
                return await self._until_ended(dag.id, shown)
            except asyncio.CancelledError:
                if not self.cancels:
                    raise
                task = asyncio.current_task()
                if task is not None:
                    task.uncancel()  # what is left to do is to clean up
                dag = await self._cancel(dag, shown)
            except Unreachable as error:
                again = self.where.command("task", "watch", "-i", dag.id)
                raise CommandError(
                    Exit.UNREACHABLE, f"{error}; the task may go on, to see it: {again}"
                ) from None
        if self.as_json:
            output.print_json(dag.model_dump())
        raise Finished(Exit.INTERRUPTED)

    async def succeed(self, dag: DagDetailDTO, seen: DagDetailDTO | None = None) -> DagDetailDTO:
        """Follow a task that is to succeed; if it fails say why, and end the command."""
        dag = await self.follow(dag, seen)
        if dag.state == "SUCCEED":
            return dag
        self.explain(dag)
        if self.as_json:
            output.print_json(dag.model_dump())
        raise Finished(Exit.FAILED)

    def explain(self, dag: DagDetailDTO) -> None:
        """Why a task failed, and what can be done."""
        shown = view(self.stream)
        for reason, task in text.failures(dag):
            shown.note(f"✗ {text.agent_of(task)} {task.name}: {reason}")
        logs = self.where.command("task", "show", "-i", dag.id, "-d")
        for line in (f"all of its logs: {logs}", *(self.advise(dag) or self._general_advice(dag))):
            shown.note(f"→ {line}")

    def _general_advice(self, dag: DagDetailDTO) -> list[str]:
        lines = [text.lock_advice(dag)] if text.stays_locked(dag) else []
        further = f"to go on: {once_mended(dag, self.where)}"
        if dag.name not in _NEVER_UNDONE and not text.emergency(dag):
            rollback = self.where.command("task", "rollback", "-i", dag.id)
            further += f"   or, where its stages allow it, to undo it: {rollback}"
        return [*lines, further]

    async def _until_ended(self, task_id: str, shown: View) -> DagDetailDTO:
        dag = await self.client.dag(task_id)
        shown.show(dag)
        while dag.state not in text.ENDED:
            dag = await self.client.dag(task_id, hold_ms=_HOLD_MS, seen_stage=dag.stage)
            shown.show(dag)
        return dag

    # --- Ctrl-C ----------------------------------------------------------------------------------

    async def _cancel(self, dag: DagDetailDTO, shown: View) -> DagDetailDTO:
        """Cancel a task; the agents it had locked are released with that."""
        shown.note(f"Interrupted: cancelling '{dag.name}' {dag.id}")
        try:
            await self.client.operate(dag.id, "CANCEL")
        except ApiError as refused:
            shown.note(f"It cannot be cancelled and goes on: {refused}")
            return await self.client.dag(dag.id)
        dag = await self._until_ended(dag.id, shown)
        if self.undo is not None and dag.state == "FAILED":
            await self._undo(self.undo, dag, shown)
            return dag
        shown.note(f"'{dag.name}' is cancelled; what it had done before is not undone")
        shown.note(f"→ {self._general_advice(dag)[-1]}")
        return dag

    async def _undo(self, undo: Undo, dag: DagDetailDTO, shown: View) -> None:
        """See that a cancelled task leaves nothing out of service."""
        try:
            begun = await undo(dag)
        except (ApiError, Unreachable) as error:
            shown.note(
                f"'{dag.name}' is cancelled; what it stopped cannot be brought back: {error}"
            )
            self.explain(dag)
            return
        shown.note(f"'{dag.name}' is cancelled; bringing back what it stopped: {begun.id}")
        ended = await self._until_ended(begun.id, shown)
        if ended.state == "SUCCEED":
            shown.note("All of its servers are in service")
        else:
            self.explain(ended)
