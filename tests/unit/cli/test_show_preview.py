"""What a person and a program are shown of a stop that is only looked at."""

from __future__ import annotations

import json

import pytest

from pyobshell.cli import preview
from pyobshell.cli.outcome import Exit, Finished
from pyobshell.wire import (
    PreviewLogStream,
    PreviewRefusal,
    PreviewStage,
    PreviewTarget,
    PreviewTenant,
    StopPreview,
)


def a_preview(**more) -> StopPreview:
    target = PreviewTarget(
        agent="10.0.0.1:2886",
        svr_ip="10.0.0.1",
        svr_port=2882,
        zone="zone1",
        status="ACTIVE",
        obState=3,
        pid=77,
        sessions=None,
    )
    lost = PreviewLogStream(ls_id=1001, kept=False, in_sync=1, paxos_replica_num=3)
    kept = PreviewLogStream(ls_id=1, kept=True, in_sync=2, paxos_replica_num=3)
    given = {
        "name": "Stop OB",
        "mode": "terminate",
        "scope": "ZONE",
        "targets": [target],
        "stages": [PreviewStage(stage=1, name="Inform all agents")],
        "majority": [
            PreviewTenant(tenant_name="shop", kept=False, log_streams=[kept, lost]),
            PreviewTenant(tenant_name="sys", kept=True, log_streams=[kept]),
        ],
        "refusals": [],
        "obstacles": [],
        "last_duration_ms": 1500,
    }
    return StopPreview(**{**given, **more})


def test_a_person_sees_tables(capsys):
    preview.show(a_preview(), as_json=False)
    out = capsys.readouterr().out
    assert "zone1  10.0.0.1:2882  10.0.0.1:2886  ACTIVE  77   -" in out
    assert "shop    LOST      LS 1001 (1 of 3)" in out
    assert "sys     kept" in out
    assert "The last such stop took 1.5 s" in out


@pytest.mark.parametrize("why", ["refusals", "obstacles"])
def test_a_person_is_told_of_options_a_program_of_fields(capsys, why):
    found = PreviewRefusal(errCode="E", message="name 22 in forcePassDag to release it")
    for as_json in (False, True):
        with pytest.raises(Finished):
            preview.show(a_preview(**{why: [found]}), as_json=as_json)
        out = capsys.readouterr().out
        assert ("forcePassDag" in out) == as_json
        assert ("name 22 in --force-pass-dag" in out) == (not as_json)


def test_a_server_that_is_in_service_and_does_not_answer_is_seen(capsys):
    (target,) = a_preview().targets
    hangs = target.model_copy(update={"obState": 1})
    preview.show(a_preview(targets=[hangs]), as_json=False)
    assert "ACTIVE, obState 1  77 " in capsys.readouterr().out


def test_a_stop_that_would_be_refused_says_so_and_exits_accordingly(capsys):
    refusal = PreviewRefusal(errCode="OB.Some.Code", message="there is a reason")
    with pytest.raises(Finished) as finished:
        preview.show(a_preview(refusals=[refusal], majority=None), as_json=False)
    assert finished.value.exit_code is Exit.REFUSED
    out = capsys.readouterr().out
    assert "It would be refused: there is a reason [OB.Some.Code]" in out
    assert "could not be found out" in out


def test_a_stop_that_would_fail_says_so_and_exits_accordingly(capsys):
    obstacle = PreviewRefusal(errCode="OB.Some.Code", message="somebody is at it")
    with pytest.raises(Finished) as finished:
        preview.show(a_preview(obstacles=[obstacle]), as_json=False)
    assert finished.value.exit_code is Exit.FAILED
    assert "It would fail: somebody is at it [OB.Some.Code]" in capsys.readouterr().out


def test_a_program_gets_the_document(capsys):
    shown = a_preview(majority=[], last_duration_ms=None)
    preview.show(shown, as_json=True)
    assert json.loads(capsys.readouterr().out) == shown.model_dump()
    preview.show(shown, as_json=False)
    assert "No such stop has succeeded at this agent before" in capsys.readouterr().out


def test_a_stop_that_would_be_done_by_the_agent_alone_says_so(capsys):
    preview.show(a_preview(emergency="no other agent answers"), as_json=False)
    assert "Emergency mode, as no other agent answers: " in capsys.readouterr().out
    preview.show(a_preview(), as_json=False)
    assert "Emergency" not in capsys.readouterr().out
