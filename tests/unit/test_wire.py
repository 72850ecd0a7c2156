"""Requests are read as leniently as OBShell reads them; moments are written as it writes them."""

from __future__ import annotations

import re
import time
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pyobshell import requests, wire
from pyobshell.requests import (
    AgentInfo,
    AgentPasswordRequest,
    InitRequest,
    JoinRequest,
    ObclusterConfigRequest,
    ObserverConfigRequest,
    OperatorRequest,
    ParameterSetting,
    Request,
    RotateKeyRequest,
    ScaleInRequest,
    ScaleOutRequest,
    SetParametersRequest,
    StartRequest,
    StopRequest,
)
from pyobshell.wire import DagDetailDTO, rfc3339

IN = "2024-01-10T11:24:21"
SECONDS = 1_704_857_061  # that moment at +08:00
FULL = {
    "scope": {"type": "SERVER", "target": ["10.0.0.1:2886"]},
    "force": True,
    "terminate": True,
    "forcePassDag": {"id": ["11"]},
}
MODELS = [one for room in (requests, wire) for one in vars(room).values() if isinstance(one, type)]
PARAMETER = {"name": "cpu_count", "value": "16", "scope": "CLUSTER"}
REQUESTS = [one for one in MODELS if issubclass(one, Request)]


# --- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [str, str.lower, str.upper, str.swapcase])
def test_names_are_read_in_any_case(case):
    body = {case(name): value for name, value in FULL.items()}
    body[case("scope")] = {case(name): value for name, value in FULL["scope"].items()}
    body[case("forcePassDag")] = {case("id"): ["11"]}
    request = StopRequest.model_validate(body)
    assert request.scope.type == "SERVER"
    assert request.scope.target == ["10.0.0.1:2886"]
    assert (request.force, request.terminate) == (True, True)
    assert request.forcePassDag.id == ["11"]


def test_of_two_spellings_of_a_name_the_later_counts():
    assert StopRequest.model_validate({"force": False, "FORCE": True}).force
    assert not StopRequest.model_validate({"FORCE": True, "force": False}).force


def test_null_is_as_good_as_absent():
    given_null = StopRequest.model_validate(
        {"scope": {"type": None, "target": None}, "force": None, "terminate": None,
         "forcePassDag": None}
    )  # fmt: skip
    assert given_null == StopRequest.model_validate({}) == StopRequest()
    assert StopRequest.model_validate({"scope": None}) == StopRequest()
    joining = {"agentInfo": {"ip": "::1", "port": 2886}, "zoneName": "z", "masterPassword": None}
    assert JoinRequest.model_validate(joining).masterPassword == ""


def test_null_where_a_value_is_needed_is_missing():
    with pytest.raises(ValidationError, match="Field required"):
        OperatorRequest.model_validate({"operator": None})


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.__name__)
def test_names_nobody_knows_are_ignored(kind):
    examples = {
        AgentInfo: {"ip": "::1", "port": 1},
        AgentPasswordRequest: {"password": "p"},
        JoinRequest: {"agentInfo": {"ip": "::1", "port": 1}, "zoneName": "z"},
        ObserverConfigRequest: {"observerConfig": {"a": "b"}},
        OperatorRequest: {"operator": "PASS"},
        ParameterSetting: PARAMETER,
        SetParametersRequest: {"params": [PARAMETER]},
        RotateKeyRequest: {"key_bits": 2048},
        ScaleInRequest: {"agent_info": {"ip": "::1", "port": 1}},
        ScaleOutRequest: {"agentInfo": {"ip": "::1", "port": 1}, "zone": "z", "obConfigs": {}},
    }
    body = examples.get(kind, {})
    assert kind.model_validate({**body, "immediate": [{}], "": 1}) == kind.model_validate(body)


WRONG = [
    (StopRequest, {"scope": "GLOBAL"}),
    (StopRequest, {"scope": []}),
    (StopRequest, {"scope": {"type": 1}}),
    (StopRequest, {"scope": {"target": "zone1"}}),
    (StopRequest, {"scope": {"target": [1]}}),
    (StopRequest, {"scope": {"target": [None]}}),
    (StopRequest, {"scope": {"target": {"zone1": True}}}),
    (StopRequest, {"force": 1}),
    (StopRequest, {"force": "true"}),
    (StopRequest, {"terminate": []}),
    (StopRequest, []),
    (StopRequest, "scope"),
    (AgentInfo, {"ip": "::1"}),
    (AgentInfo, {"port": 1}),
    (AgentInfo, {"ip": 1, "port": 1}),
    (AgentInfo, {"ip": "::1", "port": "2886"}),
    (AgentInfo, {"ip": "::1", "port": 2886.0}),
    (AgentInfo, {"ip": "::1", "port": True}),
    (JoinRequest, {"agentInfo": {"ip": "::1", "port": 1}}),
    (JoinRequest, {"zoneName": "z"}),
    (JoinRequest, {"agentInfo": "::1", "zoneName": "z"}),
    (ObclusterConfigRequest, {"clusterId": "1"}),
    (ObclusterConfigRequest, {"clusterName": 1}),
    (ObserverConfigRequest, {}),
    (ObserverConfigRequest, {"observerConfig": {"mysql_port": 2881}}),
    (ObserverConfigRequest, {"observerConfig": ["mysql_port"]}),
    (InitRequest, {"import_script": "no"}),
    (OperatorRequest, {}),
    (OperatorRequest, {"operator": 1}),
]


@pytest.mark.parametrize(("kind", "body"), WRONG, ids=lambda value: str(value)[:60])
def test_no_value_of_one_type_is_taken_for_another(kind, body):
    with pytest.raises(ValidationError):
        kind.model_validate(body)


HALF = "\ud800"  # of a character


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (StopRequest, {"scope": {"type": HALF}}),
        (StopRequest, {"scope": {"type": "ZONE", "target": ["zone1", HALF]}}),
        (StopRequest, {"forcePassDag": [HALF]}),
        (StopRequest, {"forcePassDag": {"id": [HALF]}}),
        (OperatorRequest, {"operator": HALF}),
        (ObserverConfigRequest, {"observerConfig": {"data_dir": HALF}}),
        (ObserverConfigRequest, {"observerConfig": {HALF: "x"}}),
    ],
)
def test_half_a_character_is_refused_where_it_would_be_kept(kind, body):
    with pytest.raises(ValidationError):
        kind.model_validate(body)


# --- forcePassDag --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [StartRequest, StopRequest])
@pytest.mark.parametrize(
    ("value", "ids"),
    [
        (None, []),
        ([], []),
        (["11", "12"], ["11", "12"]),
        ({}, []),
        ({"id": None}, []),
        ({"id": []}, []),
        ({"id": ["11", "12"]}, ["11", "12"]),
        ({"ID": ["11"]}, ["11"]),
        ({"id": ["11"], "other": 1}, ["11"]),
        ({"other": 1}, []),
        (["not even an id"], ["not even an id"]),
    ],
    ids=str,
)
def test_ids_to_release_stand_in_a_list_or_in_an_object(kind, value, ids):
    assert kind.model_validate({"forcePassDag": value}).forcePassDag.id == ids
    assert kind.model_validate({"FORCEPASSDAG": value}).forcePassDag.id == ids
    assert kind.model_validate({}).forcePassDag.id == []


@pytest.mark.parametrize(
    "value",
    ["11", 11, True, 1.5, [11], [None], [["11"]], {"id": "11"}, {"id": 11}, {"id": [11]},
     {"id": {"id": ["11"]}}, [{"id": "11"}]],
    ids=str,
)  # fmt: skip
def test_ids_to_release_in_any_other_shape_are_refused(value):
    with pytest.raises(ValidationError):
        StopRequest.model_validate({"forcePassDag": value})


# --- moments -------------------------------------------------------------------------------------


@pytest.fixture
def at(monkeypatch):
    """Put this process in a time zone."""

    def put(zone):
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield put
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("nanoseconds", "fraction"),
    [
        (0, ""),
        (274_727_587, ".274727587"),
        (16_000_000, ".016"),
        (10_000_000, ".01"),
        (100_000_000, ".1"),
        (1, ".000000001"),
        (999_999_999, ".999999999"),
        (272_439_000, ".272439"),
    ],
)
def test_the_fraction_of_a_moment_has_no_zeros_at_its_end(at, nanoseconds, fraction):
    at("Asia/Shanghai")
    assert rfc3339(SECONDS * 10**9 + nanoseconds) == f"{IN}{fraction}+08:00"


@pytest.mark.parametrize(
    ("zone", "written"),
    [
        ("UTC", "2024-01-10T03:24:21Z"),
        ("Asia/Shanghai", "2024-01-10T11:24:21+08:00"),
        ("Asia/Kolkata", "2024-01-10T08:54:21+05:30"),
        ("America/New_York", "2024-01-09T22:24:21-05:00"),
        ("America/St_Johns", "2024-01-09T23:54:21-03:30"),
    ],
)
def test_a_moment_has_the_offset_of_the_server_at_that_moment(at, zone, written):
    at(zone)
    assert rfc3339(SECONDS * 10**9) == written


def test_the_epoch_stands_for_not_yet(at):
    at("Asia/Shanghai")
    assert rfc3339(0) == "1970-01-01T08:00:00+08:00"


@given(st.integers(0, 2**62))
def test_every_moment_comes_back_from_what_is_written(nanoseconds):
    written = rfc3339(nanoseconds)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?(Z|[+-]\d\d:\d\d)", written
    )
    whole, fraction = re.sub(r"\.\d+", "", written), re.search(r"\.(\d+)", written)
    seconds = datetime.fromisoformat(whole.replace("Z", "+00:00")).timestamp()
    parts = int(fraction[1].ljust(9, "0")) if fraction else 0
    assert int(seconds) * 10**9 + parts == nanoseconds


def test_a_moment_in_a_dto_is_a_number_inside_and_text_outside(at):
    at("UTC")
    fields = dict.fromkeys(("id", "name", "maintenance_key", "state", "operator"), "x")
    fields |= dict.fromkeys(("dag_id", "stage", "max_stage", "maintenance_type"), 1)
    dag = DagDetailDTO(**fields, start_time=SECONDS * 10**9, end_time=0)
    dumped = dag.model_dump(mode="json")
    assert dumped["start_time"] == "2024-01-10T03:24:21Z"
    assert dumped["end_time"] == "1970-01-01T00:00:00Z"
    assert DagDetailDTO.model_validate(dumped).model_dump(mode="json") == dumped
    assert (dumped["nodes"], dumped["additional_data"]) == (None, None)
