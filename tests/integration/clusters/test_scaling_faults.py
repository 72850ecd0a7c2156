"""A cluster grows or shrinks, and an agent that matters to it dies in the middle."""

from __future__ import annotations

import os
import signal

import pytest

from support.observer_clusters import Member, SixServers
from support.running import logs
from support.scaling import (
    ADD,
    Spare,
    at_stage,
    ended,
    fault,
    kill_agent,
    known_to,
    maintainer,
    operated,
    status_of,
)
from support.standin_clusters import eventually

pytestmark = pytest.mark.long


def test_a_scale_out_survives_its_maintainer(six: SixServers, spare: Spare) -> None:
    fault(six, hang=ADD)
    dag = spare.scale_out(six)
    at_stage(six, dag, "Add server for scale_out")
    lost = maintainer(six)
    kill_agent(lost)
    fault(six)
    asked = next(member for member in six.members if member is not lost)
    dag = ended(six, dag, asked)
    lost.start()
    assert dag.state == "SUCCEED", logs(dag)
    assert status_of(six, spare) == "ACTIVE"
    eventually(lambda: spare.address in known_to(lost))


def test_a_scale_in_survives_its_maintainers(six: SixServers, spare: Spare) -> None:
    """The first is the one that is to go, the second is killed."""
    ended(six, spare.scale_out(six))
    make_maintainer(six, spare)
    six.knobs.set(delete_never=True)
    dag = six.sdk.scale_in(spare.ip, spare.port)
    at_stage(six, dag, "Wait delete observer success")
    eventually(lambda: status_of(six, spare) == "DELETING")
    lost = maintainer(six)
    assert lost is not spare
    kill_agent(lost)
    six.knobs.clear()
    asked = next(member for member in six.members if member is not lost)
    dag = ended(six, dag, asked)
    lost.start()
    assert dag.state == "SUCCEED", logs(dag)
    assert spare.identity() == "SINGLE"
    spare.remove_files()
    eventually(lambda: spare.address not in known_to(lost))


def make_maintainer(cluster: SixServers, member: Member) -> None:
    """Have an agent win the lease."""
    named = f"agent_ip = '{member.ip}', agent_port = {member.port}"
    longer = "expires = utc_timestamp(6) + interval 3 second"
    ((epoch,),) = cluster.sql("select epoch from ocs.maintainer")
    cluster.sql(f"update ocs.maintainer set {named}, {longer}, epoch = epoch + 1")
    won = f"select 1 from ocs.maintainer where epoch = {epoch + 2} and {named.replace(',', ' and')}"
    eventually(lambda: cluster.sql(won))


def test_an_agent_that_is_lost_undoes_its_part_when_it_is_back(
    six: SixServers, spare: Spare
) -> None:
    fault(six, fail=ADD, errno=4179)
    dag = ended(six, spare.scale_out(six))
    assert dag.state == "FAILED"
    kill_agent(spare)
    dag = operated(six, dag, "ROLLBACK")
    assert (dag.state, dag.stage) == ("SUCCEED", 1)
    assert "is to undo its part when it comes back" in logs(dag)
    spare.start()
    eventually(spare.is_clean)


def test_an_agent_that_was_down_when_it_was_removed_parts_when_it_is_back(
    six: SixServers, spare: Spare
) -> None:
    ended(six, spare.scale_out(six))
    kill_agent(spare)
    dag = ended(six, six.sdk.scale_in(spare.ip, spare.port))
    assert dag.state == "SUCCEED", logs(dag)
    assert "is to end its server when it comes back" in logs(dag)
    assert spare.server_pid() is not None
    spare.start()
    eventually(lambda: spare.identity() == "SINGLE")
    assert spare.server_pid() is None
    spare.remove_files()


def test_an_agent_that_was_paused_while_it_was_removed_parts_when_it_goes_on(
    six: SixServers, spare: Spare
) -> None:
    ended(six, spare.scale_out(six))
    six.knobs.set(delete_never=True)
    dag = six.sdk.scale_in(spare.ip, spare.port)
    at_stage(six, dag, "Wait delete observer success")
    os.kill(spare.pid(), signal.SIGSTOP)
    try:
        six.knobs.clear()
        dag = ended(six, dag)
    finally:
        os.kill(spare.pid(), signal.SIGCONT)
    assert dag.state == "SUCCEED", logs(dag)
    assert "is to end its server when it comes back" in logs(dag)
    eventually(lambda: spare.identity() == "SINGLE", patience_s=60)
    assert spare.server_pid() is None
    spare.remove_files()


def test_an_agent_that_was_down_when_it_was_removed_with_its_files_removes_them(
    six: SixServers, spare: Spare
) -> None:
    ended(six, spare.scale_out(six))
    kill_agent(spare)
    words = ("-s", spare.address, "--remove-data", "-y")
    done = six.members[0].command("scale-in", *words, of="cluster")
    assert done.returncode == 0, done.stderr
    spare.start()
    eventually(spare.is_clean)
