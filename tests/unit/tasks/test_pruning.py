"""Which DAGs are forgotten, and that nothing of them is left while all others stay whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from pyobshell.tasks import pruning
from pyobshell.tasks.model import MaintenanceType, State
from pyobshell.tasks.pruning import Head, Keeping

pytestmark = pytest.mark.anyio

NONE, GLOBAL = MaintenanceType.NONE, MaintenanceType.GLOBAL
KEEP_ALL = Keeping(since=0, settled=0, most=10**6)

heads = st.lists(
    st.builds(
        Head,
        id=st.just(0),
        name=st.sampled_from(["Stop OB", "Kept"]),
        state=st.sampled_from(State),
        locking=st.sampled_from(MaintenanceType),
        end_time=st.integers(0, 100),
    ),
    max_size=30,
).map(
    lambda some: [
        Head(number, one.name, one.state, one.locking, one.end_time)
        for number, one in zip(range(len(some), 0, -1), some, strict=True)
    ]
)
keepings = st.builds(
    Keeping,
    since=st.integers(0, 100),
    settled=st.integers(0, 100),
    most=st.integers(1, 10),
    names=st.just(("Kept",)),
)


@given(heads, keepings)
def test_what_must_stay_stays_and_what_need_not_goes(newest_first, keeping):
    gone = pruning.superfluous(newest_first, keeping)
    newest = {}
    for head in newest_first:
        newest.setdefault(head.locking, head)
    kept = [head for head in newest_first if head not in gone]
    assert [head.id for head in gone] == sorted(head.id for head in gone)
    for head in gone:
        assert head.finished
        assert head.name != "Kept"
        assert head.locking is NONE or newest[head.locking] != head
        if head.end_time >= keeping.since:
            assert head.state is State.SUCCEED
            assert head.end_time < keeping.settled
    for head in kept:
        if head.finished and head.end_time < keeping.since and head.name != "Kept":
            assert head.locking is not NONE
            assert newest[head.locking] == head
    spare = [
        head
        for head in kept
        if head.state is State.SUCCEED and head.end_time < keeping.settled
        and head.name != "Kept" and newest[head.locking] != head
    ]  # fmt: skip
    assert len(spare) <= keeping.most


def add_dag(connection, *, state="SUCCEED", locking=NONE, end=1, lines=3, name="Stop OB"):
    """A DAG of two nodes, the first of which has two sub tasks with lines."""
    dag = connection.execute(
        text(
            "INSERT INTO dag (name, stage, max_stage, state, operator, maintenance_type,"
            " maintenance_key, params, data, signals, start_time, end_time)"
            " VALUES (:name, 1, 2, :state, 'RUN', :locking, '', '{}', '{}', '[]', 1, :end)"
        ),
        {"name": name, "state": state, "locking": int(locking), "end": end},
    ).lastrowid
    for stage in (1, 2):
        node = connection.execute(
            text(
                "INSERT INTO node (dag_id, stage, name, stage_key, state, operator, start_time,"
                " end_time) VALUES (:dag, :stage, 's', 's', :state, 'RUN', 1, 1)"
            ),
            {"dag": dag, "stage": stage, "state": state},
        ).lastrowid
        for _ in range(3 - stage):
            task = connection.execute(
                text(
                    "INSERT INTO sub_task (dag_id, node_id, name, state, operator, agent_ip,"
                    " agent_port, execute_times, abilities, data, start_time, end_time)"
                    " VALUES (:dag, :node, 's', :state, 'RUN', '1.1.1.1', 1, 1, 0, '{}', 1, 1)"
                ),
                {"dag": dag, "node": node, "state": state},
            ).lastrowid
            for _ in range(lines):
                connection.execute(
                    text(
                        "INSERT INTO sub_task_log (sub_task_id, execute_times, content,"
                        " create_time) VALUES (:task, 1, 'line', 1)"
                    ),
                    {"task": task},
                )
    return dag


def counts(connection):
    tables = ("dag", "node", "sub_task", "sub_task_log")
    return [connection.execute(text(f"SELECT count(*) FROM {one}")).scalar() for one in tables]


def look(connection):
    return pruning.superfluous(pruning.heads(connection), Keeping(since=50, settled=50, most=99))


async def test_what_is_forgotten_takes_all_of_its_own_along_and_nothing_else(database):
    def fill(connection):
        for end in (1, 60, 2):
            add_dag(connection, end=end)
        add_dag(connection, state="RUNNING", end=1)
        add_dag(connection, state="FAILED", locking=GLOBAL, end=1)

    await database.write(fill)
    gone = await database.read(look)
    assert [head.id for head in gone] == [1, 3]
    assert await database.write(lambda c: pruning.forget(c, gone)) == 2
    assert await database.read(counts) == [3, 6, 9, 27]
    left = await database.read(lambda c: [head.id for head in pruning.heads(c)])
    assert left == [5, 4, 2]
    assert await database.read(look) == []


async def test_a_transaction_takes_no_more_away_than_a_bounded_number_of_rows(
    database, monkeypatch
):
    monkeypatch.setattr(pruning, "LARGEST_BATCH", 10)
    await database.write(lambda c: [add_dag(c, lines=lines) for lines in (7, 0, 0, 3, 8)])
    gone = await database.read(look)
    batches = 0
    while gone:
        before = sum(await database.read(counts))
        count = await database.write(lambda c, gone=gone: pruning.forget(c, gone))
        removed = before - sum(await database.read(counts))
        assert 0 < removed <= 10 * 6  # a DAG has six rows beside its lines
        gone = gone[count:]
        batches += 1
        assert batches < 20
    assert batches > 3
    assert await database.read(counts) == [0, 0, 0, 0]


@pytest.mark.parametrize("change", ["state = 'READY'", "end_time = 99", "maintenance_type = 2"])
async def test_what_was_operated_since_it_was_looked_at_stays(database, change):
    await database.write(lambda c: [add_dag(c, state="FAILED") for _ in range(2)])
    gone = await database.read(look)
    await database.write(lambda c: c.execute(text(f"UPDATE dag SET {change} WHERE id = 1")) and 0)
    assert await database.write(lambda c: pruning.forget(c, gone)) == 2
    assert await database.read(counts) == [1, 2, 3, 9]


async def test_numbers_of_what_is_gone_are_not_given_again(database):
    await database.write(lambda c: [add_dag(c) for _ in range(3)])
    gone = await database.read(look)
    await database.write(lambda c: pruning.forget(c, gone))
    assert await database.write(add_dag) == 4


def test_what_failed_is_not_counted_out_before_its_time():
    old = [Head(n, "Stop OB", State.FAILED, NONE, 60) for n in range(9, 0, -1)]
    assert pruning.superfluous(old, Keeping(since=50, settled=99, most=1)) == []
    assert len(pruning.superfluous(old, Keeping(since=61, settled=99, most=100))) == 9


def test_what_has_just_ended_is_not_counted_out():
    some = [Head(n, "Stop OB", State.SUCCEED, NONE, 60) for n in (3, 2, 1)]
    assert pruning.superfluous(some, Keeping(since=0, settled=60, most=1)) == []
    gone = pruning.superfluous(some, Keeping(since=0, settled=61, most=1))
    assert [head.id for head in gone] == [1, 2]
    assert pruning.superfluous(some, KEEP_ALL) == []
