"""Which command goes on with a task that has failed."""

from __future__ import annotations

from pyobshell.cli import text
from pyobshell.cli.place import Place
from pyobshell.wire import DagDetailDTO

_ORDERS = {
    "Start local observer": ("cluster", "start"),
    "Stop local observer": ("cluster", "stop", "-f"),
}


def once_mended(dag: DagDetailDTO, where: Place, order: tuple[str, ...] = ()) -> str:
    """The command that does what is left of a failed task: its RETRY.

    Not every stage of an emergency's task can be retried, and to give the order again is as good:
    in the words of ``order`` if they are known, else for the server of the agent that carried it
    out.
    """
    if not text.emergency(dag):
        return where.command("task", "retry", "-i", dag.id)
    return where.command(*(order or _order_of(dag)))


def _order_of(dag: DagDetailDTO) -> tuple[str, ...]:
    agents = [text.agent_of(task) for node in dag.nodes or [] for task in node.sub_tasks or []]
    return (*_ORDERS[dag.name], "-s", agents[0])
