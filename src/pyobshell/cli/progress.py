"""A task as it goes: a table that moves on a terminal, else a line for each stage that ends."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from pyobshell.cli import output, text
from pyobshell.cli.outcome import in_options
from pyobshell.visible import spelled_out
from pyobshell.wire import DagDetailDTO, NodeDetailDTO

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table


_STYLES = {"✗": "red", "→": "bold"}


class View(Protocol):
    """Shows a task to somebody; a context manager."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """What is shown stays as it is."""

    def show(self, dag: DagDetailDTO) -> None:
        """The task as it is now, with its nodes."""

    def note(self, line: str) -> None:
        """Something else worth saying meanwhile."""


def view(
    stream: TextIO,
    *,
    verbose: bool = False,
    seen: DagDetailDTO | None = None,
    transient: bool = False,
) -> View:
    """The view that suits a stream; stages that had ended when ``seen`` are old news.

    On a terminal a ``transient`` view disappears in the end.
    """
    if output.is_terminal(stream):
        return LiveView(stream, verbose=verbose, transient=transient)
    return PlainView(stream, verbose=verbose, seen=seen)


class PlainView:
    """Prints each stage when it ends."""

    def __init__(
        self, stream: TextIO, *, verbose: bool = False, seen: DagDetailDTO | None = None
    ) -> None:
        self._stream = stream
        self._verbose = verbose
        self._printed = {_version(node) for node in (seen.nodes if seen else None) or []}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.flush()

    def show(self, dag: DagDetailDTO) -> None:
        """Print the stages that have ended since the last time."""
        for number, node in enumerate(dag.nodes or [], 1):
            if node.state not in text.ENDED or _version(node) in self._printed:
                continue
            self._printed.add(_version(node))
            self.note(text.line_of(dag, number, node))
            if self._verbose:
                for line in _logs(node):
                    self.note(f"    {line}")

    def note(self, line: str) -> None:
        """Print a line."""
        output.say(in_options(line), stream=self._stream)
        self._stream.flush()


class LiveView:
    """Keeps a table of the stages up to date."""

    def __init__(self, stream: TextIO, *, verbose: bool = False, transient: bool = False) -> None:
        self._console = output.console(stream)
        self._transient = transient
        self._verbose = verbose
        self._dag: DagDetailDTO | None = None
        self._begun: dict[int, float] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from rich.live import Live

        self._live = Live(
            console=self._console,
            get_renderable=self._table,
            refresh_per_second=8,
            transient=self._transient,
        )
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if self._verbose and self._dag is not None:
            for node in self._dag.nodes or []:
                for line in _logs(node):
                    said = spelled_out(in_options(line))
                    self._console.print(f"    {said}", style="dim", markup=False)

    def show(self, dag: DagDetailDTO) -> None:
        """Draw the stages anew."""
        self._dag = dag
        for node in dag.nodes or []:
            if node.state == "RUNNING":
                # The clock here, from when it was seen: the agent's may be another.
                self._begun.setdefault(node.node_id, time.monotonic())
        if self._live is not None:
            self._live.refresh()

    def note(self, line: str) -> None:
        """Print a line above the table; long ones are left whole, so that they can be copied."""
        style = _STYLES.get(line[:1], "")
        self._console.print(
            spelled_out(in_options(line)), style=style, markup=False, soft_wrap=True
        )

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        dag = self._dag
        table = Table(box=None, show_header=False, pad_edge=False, title_justify="left")
        if dag is None:
            return table
        colour = output.COLOURS.get(dag.state, "")
        table.title = Text.assemble(
            (spelled_out(dag.name), "bold"),
            f" [{dag.stage}/{dag.max_stage}] ",
            (spelled_out(dag.state), colour),
            f" {spelled_out(dag.id)}",
        )
        # Where there is little room it is taken from the column that may be wrapped, the names;
        # which are cut instead, and show it.
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=False)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(justify="right", no_wrap=True, min_width=7)
        for node in dag.nodes or []:
            colour = output.COLOURS.get(node.state, "")
            sign = Text(output.SIGNS.get(node.state, "?"), style=colour)
            dim = "dim" if node.state == "PENDING" else ""
            name = Text(spelled_out(node.name), style=dim, no_wrap=True, overflow="ellipsis")
            table.add_row(sign, name, _agents(node), self._elapsed(node))
        return table

    def _elapsed(self, node: NodeDetailDTO) -> str:
        if node.state in text.ENDED:
            return text.duration(text.elapsed_ms(node.start_time, node.end_time))
        begun = self._begun.get(node.node_id) if node.state == "RUNNING" else None
        if begun is None:
            return ""
        return text.duration(int((time.monotonic() - begun) * 1000))


def _agents(node: NodeDetailDTO) -> str:
    """How many of the agents concerned have done their part."""
    tasks = node.sub_tasks or []
    done = sum(task.state == "SUCCEED" for task in tasks)
    return f"{done}/{len(tasks)}" if len(tasks) > 1 else ""


def _logs(node: NodeDetailDTO) -> list[str]:
    return [line for task in node.sub_tasks or [] for line in task.task_logs or []]


def _version(node: NodeDetailDTO) -> tuple[int, str, str, str]:
    """What tells one end of a stage from another: it may run again."""
    return node.node_id, node.state, node.operator, str(node.end_time)
