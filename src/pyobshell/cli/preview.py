"""`obshell cluster stop --dry-run`: what would be done, and why it would be refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyobshell.cli import output
from pyobshell.cli.outcome import Exit, Finished, in_options

if TYPE_CHECKING:
    from pyobshell.wire import PreviewTarget, PreviewTenant, StopPreview


def show(preview: StopPreview, *, as_json: bool) -> None:
    """Print it; ends with ``Exit.REFUSED`` or ``FAILED`` as the stop itself would, if it would."""
    if as_json:
        output.print_json(preview.model_dump())
    else:
        _print(preview)
    if preview.refusals:
        raise Finished(Exit.REFUSED)
    if preview.obstacles:
        raise Finished(Exit.FAILED)


def _print(preview: StopPreview) -> None:
    from pyobshell.cli import text

    output.say(f"{preview.name}, {preview.mode}, scope {preview.scope}: nothing is done yet")
    if preview.emergency is not None:
        output.say(text.acting_alone(preview.emergency))
    output.say()
    headings = ["ZONE", "SERVER", "AGENT", "STATE", "PID", "SESSIONS CUT"]
    output.print_table(headings, [_target(one) for one in preview.targets])
    output.say()
    output.print_table(["STAGE", "NAME"], [[str(one.stage), one.name] for one in preview.stages])
    output.say()
    if preview.majority is None:
        output.say("Whether log streams keep their majority could not be found out")
    elif preview.majority:
        rows = [_tenant(one) for one in preview.majority]
        output.print_table(["TENANT", "MAJORITY", "LOG STREAMS WITHOUT"], rows)
        output.say()
    if preview.last_duration_ms is None:
        output.say("No such stop has succeeded at this agent before")
    else:
        output.say(f"The last such stop took {text.duration(preview.last_duration_ms)}")
    for refusal in preview.refusals:
        output.say(f"It would be refused: {in_options(refusal.message)} [{refusal.errCode}]")
    for obstacle in preview.obstacles:
        output.say(f"It would fail: {in_options(obstacle.message)} [{obstacle.errCode}]")


def _target(target: PreviewTarget) -> list[str]:
    host = f"[{target.svr_ip}]" if ":" in target.svr_ip else target.svr_ip
    known = [target.pid, target.sessions]
    hangs = target.status == "ACTIVE" and target.obState not in (None, 3)
    state = f"{target.status}, obState {target.obState}" if hangs else target.status
    return [
        target.zone,
        f"{host}:{target.svr_port}",
        target.agent,
        state,
        *("-" if one is None else str(one) for one in known),
    ]


def _tenant(tenant: PreviewTenant) -> list[str]:
    lost = [
        f"LS {one.ls_id} ({one.in_sync} of {one.paxos_replica_num})"
        for one in tenant.log_streams
        if not one.kept
    ]
    return [tenant.tenant_name, "kept" if tenant.kept else "LOST", ", ".join(lost)]
