"""Answers who asked for what, merging the records of all agents of the cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

from pydantic import BaseModel

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.procedures import Caller, procedure
from pyobshell.deadline import Deadline
from pyobshell.errors import OBShellError
from pyobshell.operations.reached import unreachable
from pyobshell.operations.site import Site
from pyobshell.store.audit import Record, Wanted
from pyobshell.tasks.ids import GenericId
from pyobshell.tasks.model import State
from pyobshell.wire import AuditRecord, AuditTrail

_PAGE = 500


class Inquiry(BaseModel):
    """Which records, and how many at most.

    ``failed``: what was refused or not answered, and what led to a task that is FAILED now.
    """

    wanted: Wanted
    failed: bool = False
    limit: int


class Found(BaseModel):
    """Records of one agent, and the states of their DAGs as far as these exist and can be asked."""

    records: list[Record]
    states: dict[str, State]


async def trail(site: Site, inquiry: Inquiry, agent: Address | None) -> AuditTrail:
    """The newest records of all agents that can be reached, or of one alone.

    Raises ``Agent.RPC.RequestFailed`` if that one cannot be.
    """
    patience = Deadline.after(site.settings.rpc_timeout_s)
    answers: dict[Address, Found | OBShellError]
    if agent is not None:
        answers = {agent: await site.peers.call(agent, find, inquiry, patience)}
    else:
        agents = site.cluster.view.who_answer
        answers = await site.peers.call_all(agents, find, inquiry, patience, if_there=True)
    merged: list[tuple[Record, Address, Found]] = []
    for asked, answer in answers.items():
        if not isinstance(answer, OBShellError):
            merged += [(record, asked, answer) for record in answer.records]
    merged.sort(key=lambda one: (one[0].moment, one[1], one[0].number), reverse=True)
    shown = [_dto(record, asked, found) for record, asked, found in merged[: inquiry.limit]]
    return AuditTrail(contents=shown, unreachable=unreachable(site.cluster.view, answers))


def _dto(record: Record, agent: Address, found: Found) -> AuditRecord:
    return AuditRecord(
        number=record.number,
        time=record.moment,
        trace_id=record.trace_id,
        who=record.who,
        uid=record.uid,
        pid=record.pid,
        client=record.client,
        agent=str(agent),
        method=record.method,
        path=record.path,
        body=json.loads(record.body),
        status=record.status,
        errCode=record.error_code,
        dag=record.dag_id,
        dag_state=found.states.get(record.dag_id or ""),
        duration=record.duration_ms,
    )


# --- what an agent is asked ----------------------------------------------------------------------


@procedure("audit/find")
async def find(site: Site, caller: Caller, inquiry: Inquiry) -> Found:
    """The newest of this agent's records that are wanted."""
    # What the stores of others tell comes in time for the answer, or not at all.
    patience = caller.deadline.within(caller.deadline.remaining() / 2)
    found = Found(records=[], states={})
    below: Record | None = None
    most = _PAGE if inquiry.failed else inquiry.limit
    while True:
        page = await site.audit.find(inquiry.wanted, most, below)
        unknown = {one.dag_id for one in page if one.dag_id} - found.states.keys()
        found.states |= await _states(site, unknown, patience)
        found.records += [one for one in page if not inquiry.failed or _failed(one, found)]
        if len(page) < most or len(found.records) >= inquiry.limit:
            found.records = found.records[: inquiry.limit]
            return found
        below = page[-1]


def _failed(record: Record, found: Found) -> bool:
    refused = record.status is None or record.status >= 400
    return refused or found.states.get(record.dag_id or "") is State.FAILED


async def _states(site: Site, ids: Iterable[str], deadline: Deadline) -> dict[str, State]:
    """The states of DAGs in whatever stores; one that is not found out is missing."""
    numbers: dict[Address | None, list[int]] = {}
    for dag_id in ids:
        where = GenericId.parse(dag_id)
        if not where.obproxy:
            numbers.setdefault(where.agent, []).append(where.number)
    answers = await asyncio.gather(
        *(_states_in(site, store, some, deadline) for store, some in numbers.items())
    )
    return {dag_id: state for answer in answers for dag_id, state in answer.items()}


async def _states_in(
    site: Site, store: Address | None, numbers: list[int], deadline: Deadline
) -> dict[str, State]:
    asked = Numbers(numbers=numbers, shared=store is None)
    view = site.cluster.view
    if store is None:
        agents = [site.own, *view.others]
    else:
        agents = [store] if store == site.own or view.member(store) is not None else []
    try:
        async with asyncio.timeout(deadline.remaining()):
            timeout_s = site.settings.rpc_timeout_s
            known = await site.peers.call_any(agents, tell_states, asked, timeout_s)
    except (OBShellError, TimeoutError):
        return {}
    return {str(GenericId(number, store)): state for number, state in known.states.items()}


class Numbers(BaseModel):
    """DAGs of an agent's store, or with ``shared`` of the cluster's."""

    numbers: list[int]
    shared: bool


class States(BaseModel):
    """Their states; those that do not exist are missing."""

    states: dict[int, State]


@procedure("task/states")
async def tell_states(site: Site, caller: Caller, asked: Numbers) -> States:
    """The states of DAGs; raises ``Agent.Maintainer.NotActive`` if the agent has no such store."""
    if not asked.shared:
        return States(states=await site.tasks.states(asked.numbers))
    ocs = site.require_ocs()
    if not ocs.is_open:
        raise errors.MAINTAINER_NOT_ACTIVE(cause=f"{site.own} has no part in the cluster's tasks")
    return States(states=await ocs.tasks.states(asked.numbers))


PROCEDURES = (find, tell_states)
