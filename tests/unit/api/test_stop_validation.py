"""What a stop is refused for, in OBShell's order; nothing is recorded then. And what is taken."""

from __future__ import annotations

import contextlib
import json

import pytest

from pyobshell.address import Address
from pyobshell.cluster.model import Identity
from pyobshell.engines.base import ObState
from support.asking import check_envelope

pytestmark = pytest.mark.anyio

BIND = ("Common.BindJsonFailed", 400)
SCOPE = ("OB.Cluster.Scope.Invalid", 400)
ARGUMENT = ("Common.IllegalArgument", 400)
NO_ZONE = ("OB.Zone.NotExist", 400)
NO_AGENT = ("Agent.NotExist", 400)
ADDRESS = ("Common.InvalidAddress", 400)
IP = ("Common.InvalidIp", 400)
PORT = ("Common.InvalidPort", 400)
IDENTITY = ("Agent.Identify.NotSupportOperation", 400)
CONFLICT = ("OB.Cluster.StopModeConflict", 400)
NEITHER = ("OB.Cluster.ForceStopOrTerminateRequired", 400)
NEEDS_SERVER = ("OB.Cluster.ForceStopRequired", 400)
MULTI_ZONE = ("OB.Server.StoppedInMultiZone", 400)

GLOBAL = {"type": "GLOBAL"}
FORCE, TERMINATE, BOTH = {"force": True}, {"terminate": True}, {"force": True, "terminate": True}


def zones(*names):
    return {"type": "ZONE", "target": list(names)}


def servers(*addresses):
    return {"type": "SERVER", "target": list(addresses)}


# Every body is one that breaks at least the rule it is refused by, and often later ones as well.
SHAPES = {
    "scope is text": {"scope": "GLOBAL", **BOTH},
    "scope is a list": {"scope": ["GLOBAL"]},
    "type is a number": {"scope": {"type": 1}},
    "target is text": {"scope": {"type": "ZONE", "target": "zone1"}},
    "target has a number": {"scope": {"type": "ZONE", "target": ["zone1", 2]}},
    "target has a null": {"scope": {"type": "ZONE", "target": [None]}},
    "force is text": {"scope": {"type": "NONE"}, "force": "true"},
    "force is a number": {"scope": GLOBAL, "force": 1},
    "terminate is a list": {"scope": GLOBAL, "terminate": []},
    "ids to release are text": {"scope": GLOBAL, **FORCE, "forcePassDag": "11"},
    "ids to release are numbers": {"scope": GLOBAL, **FORCE, "forcePassDag": [11]},
    "ids to release are a number": {"scope": GLOBAL, **FORCE, "forcePassDag": {"id": 11}},
    "ids to release are text in an object": {"scope": GLOBAL, "forcePassDag": {"id": "11"}},
    "a list": [GLOBAL],
    "text": "GLOBAL",
    "a number": 1,
}
SCOPES = {
    "nothing": (None, SCOPE),
    "an empty object": ({}, SCOPE),
    "no scope": ({**BOTH}, SCOPE),
    "scope null": ({"scope": None, **FORCE}, SCOPE),
    "type null": ({"scope": {"type": None}, **FORCE}, SCOPE),
    "type empty": ({"scope": {"type": ""}, **BOTH}, SCOPE),
    "type unknown": ({"scope": {"type": "all", "target": []}, **BOTH}, SCOPE),
    "type with a space": ({"scope": {"type": "GLOBAL "}, **FORCE}, SCOPE),
    "a zone without a name": ({"scope": zones(), **BOTH}, ARGUMENT),
    "a zone with null for names": ({"scope": {"type": "ZONE", "target": None}}, ARGUMENT),
    "a server without a name": ({"scope": {"type": "SERVER"}, **BOTH}, ARGUMENT),
    "an unknown zone": ({"scope": zones("zone1", "zone9"), **BOTH}, NO_ZONE),
    "a zone in another case": ({"scope": zones("ZONE1"), **FORCE}, NO_ZONE),
    "a zone of no name": ({"scope": zones(""), **FORCE}, NO_ZONE),
    "a server that is no member": ({"scope": servers("10.0.0.9:2886"), **BOTH}, NO_AGENT),
    "a server by its zone": ({"scope": servers("zone1"), **BOTH}, IP),
    "a server of no name": ({"scope": servers(""), **FORCE}, ADDRESS),
    "an open bracket": ({"scope": servers("[::1:2886"), **FORCE}, ADDRESS),
    "an address of a name": ({"scope": servers("localhost:2886"), **FORCE}, IP),
    "a port too low": ({"scope": servers("10.0.0.9:1024"), **FORCE}, PORT),
    "a port too high": ({"scope": servers("10.0.0.9:65536"), **FORCE}, PORT),
    "a port that is none": ({"scope": servers("10.0.0.9:x"), **FORCE}, PORT),
    "a port without end": ({"scope": servers("10.0.0.9:" + "9" * 5000), **FORCE}, PORT),
}
MODES = {
    "both modes, all servers": (GLOBAL, BOTH, CONFLICT),
    "both modes, a zone": (zones("zone1"), BOTH, CONFLICT),
    "both modes, two zones": (zones("zone1", "zone2"), BOTH, CONFLICT),
    "no mode, all servers": (GLOBAL, {}, NEITHER),
    "no mode said with null": (GLOBAL, {"force": None, "terminate": None}, NEITHER),
    "no mode said with false": (GLOBAL, {"force": False, "terminate": False}, NEITHER),
}
NEED_THE_SERVER = {
    "terminate, all servers": (GLOBAL, TERMINATE),
    "terminate, a zone": (zones("zone1"), TERMINATE),
    "terminate, a server": (servers("own"), TERMINATE),
    "force, a zone": (zones("zone1"), FORCE),
    "gently, a zone": (zones("zone1"), {}),
    "gently, two zones": (zones("zone1", "zone2"), {}),
    "gently, a server": (servers("own"), {}),
}


@contextlib.contextmanager
def server_is(host, state):
    """The server of an agent in another state for a while."""
    before = host.engine._state
    host.engine.set_state(state)
    yield
    host.engine.set_state(before)


def on(host, scope):
    """A scope whose targets name the agent and its fellows."""
    own, *others = map(str, host.site.cluster.view.addresses)
    names = {"own": own, **{f"other {n}": one for n, one in enumerate(others, start=1)}}
    target = [names.get(name, name) for name in scope.get("target") or []]
    return {**scope, "target": target}


async def refused(host, body):
    """Code and status of a refusal that leaves nothing recorded and touches no server."""
    deeds = [*host.engine.deeds]
    answer = await host.api.post("/ob/stop", body)
    check_envelope(answer)
    assert "data" in answer.envelope
    assert await host.site.tasks.dags() == []
    assert host.engine.deeds == deeds
    return answer.refusal


@pytest.mark.parametrize("body", SHAPES.values(), ids=SHAPES.keys())
async def test_first_the_shape_of_the_body_counts(unchanged_member, body):
    assert await refused(unchanged_member, body) == BIND


@pytest.mark.parametrize(("body", "code"), SCOPES.values(), ids=SCOPES.keys())
async def test_then_the_scope(unchanged_member, body, code):
    assert await refused(unchanged_member, body) == code


@pytest.mark.parametrize("identity", [one for one in Identity if one is not Identity.CLUSTER_AGENT])
async def test_then_what_the_agent_is(start_member, identity):
    host = await start_member(identity)
    for scope, mode in [(GLOBAL, BOTH), (GLOBAL, {}), (zones("zone1"), FORCE)]:
        answer = await host.local.post("/ob/stop", {"scope": scope, **mode})
        assert answer.refusal == IDENTITY
        assert str(host.address) in answer.message
        assert f"is {identity};" in answer.message
    answer = await host.local.post("/ob/stop", {"scope": {"type": "NONE"}, **BOTH})
    assert answer.refusal == SCOPE
    assert await host.site.tasks.dags() == []


async def test_an_agent_of_no_cluster_knows_no_zone_and_no_server(start_host):
    host = await start_host()
    for scope, code in [(zones("zone1"), NO_ZONE), (servers(str(host.address)), NO_AGENT)]:
        assert (await host.api.post("/ob/stop", {"scope": scope, **FORCE})).refusal == code


@pytest.mark.parametrize("state", list(ObState))
@pytest.mark.parametrize(("scope", "mode", "code"), MODES.values(), ids=MODES.keys())
async def test_then_the_mode(unchanged_member, scope, mode, code, state):
    with server_is(unchanged_member, state):
        assert await refused(unchanged_member, {"scope": scope, **mode}) == code


@pytest.mark.parametrize("state", [one for one in ObState if one != ObState.CONNECTION_AVAILABLE])
@pytest.mark.parametrize(("scope", "mode"), NEED_THE_SERVER.values(), ids=NEED_THE_SERVER.keys())
async def test_then_whether_the_server_here_serves(unchanged_member, scope, mode, state):
    body = {"scope": on(unchanged_member, scope), **mode}
    with server_is(unchanged_member, state):
        assert await refused(unchanged_member, body) == NEEDS_SERVER


@pytest.mark.parametrize(
    "scope",
    [
        zones("zone1", "zone2"),
        servers("own", "other 1"),
        zones("zone1"),  # for the others cannot be asked, and so may be down
        servers("own"),
    ],
)
async def test_then_whether_a_gentle_stop_keeps_to_one_zone(unchanged_member, scope):
    body = {"scope": on(unchanged_member, scope)}
    assert await refused(unchanged_member, body) == MULTI_ZONE


# --- what is taken -------------------------------------------------------------------------------

TAKEN = {
    "all, by force": (GLOBAL, FORCE, 5, ["own", "other 1", "other 2"]),
    "all, flushed": (GLOBAL, TERMINATE, 6, ["own", "other 1", "other 2"]),
    "in lower case": ({"type": "global"}, FORCE, 5, ["own", "other 1", "other 2"]),
    "in mixed case": ({"type": "zOnE", "target": ["zone2"]}, FORCE, 5, ["other 1", "other 2"]),
    "all, with targets": ({"type": "GLOBAL", "target": ["zone9"]}, FORCE, 5, None),
    "all, with no targets": ({"type": "GLOBAL", "target": []}, FORCE, 5, None),
    "all, with null for targets": ({"type": "GLOBAL", "target": None}, FORCE, 5, None),
    "unknown names": ({"type": "GLOBAL", "zone": 1}, {**FORCE, "immediate": "?"}, 5, None),
    "names in any case": ({"TYPE": "GLOBAL"}, {"Force": True, "TERMINATE": None}, 5, None),
    "two zones": (zones("zone2", "zone1"), FORCE, 5, ["own", "other 1", "other 2"]),
    "a zone twice": (zones("zone1", "zone1"), FORCE, 5, ["own"]),
    "two zones, flushed": (zones("zone1", "zone2"), TERMINATE, 6, None),
    "a server": (servers("other 2"), FORCE, 5, ["other 2"]),
    "servers in the order asked for": (servers("other 2", "own"), FORCE, 5, ["other 2", "own"]),
    "a server twice": (servers("own", "own"), FORCE, 5, ["own"]),
    "a server, flushed": (servers("own"), TERMINATE, 6, ["own"]),
}


@pytest.mark.parametrize(("scope", "mode", "stages", "targets"), TAKEN.values(), ids=TAKEN.keys())
async def test_what_breaks_no_rule_is_taken(member, scope, mode, stages, targets):
    body = {"scope": on(member, scope) if scope.get("target") else scope, **mode}
    answer = await member.api.post("/ob/stop", body)
    check_envelope(answer)
    dag = answer.data
    assert (dag["name"], dag["state"], dag["stage"]) == ("Stop OB", "READY", 1)
    assert dag["max_stage"] == stages
    (recorded, *_) = await member.site.tasks.dags()
    if targets is not None:
        named = on(member, servers(*targets))["target"]
        found = json.loads(recorded.params)["targets"]
        assert [str(Address(*one)) for one in found] == named


@pytest.mark.parametrize("scope", [GLOBAL, servers("own")], ids=["all", "a server"])
@pytest.mark.parametrize("state", [ObState.PROCESS_NOT_RUNNING, ObState.PROCESS_RUNNING])
async def test_a_stop_by_force_needs_no_server_that_serves(start_member, scope, state):
    host = await start_member(zones=("zone1",))
    host.engine.set_state(state)
    answer = await host.api.post("/ob/stop", {"scope": on(host, scope), **FORCE})
    assert answer.data["max_stage"] == 5


@pytest.mark.parametrize("scope", [zones("zone1"), servers("own"), servers("own", "other 1")])
async def test_a_gentle_stop_is_taken_where_there_is_one_zone_alone(start_member, scope):
    host = await start_member(zones=("zone1", "zone1"))
    answer = await host.api.post("/ob/stop", {"scope": on(host, scope)})
    assert answer.data["max_stage"] == 6


@pytest.mark.parametrize(
    ("ip", "spelled"),
    [
        ("2001:db8::10", "[2001:DB8:0::0010]:2886"),
        ("2001:db8::10", "[2001:db8::10]"),
        ("2001:db8::10", "2001:db8::10"),
        ("10.10.10.1", "10.10.10.1"),
    ],
)
async def test_a_server_may_be_named_in_any_form_of_its_address(start_member, ip, spelled):
    host = await start_member(zones=("zone1",), address=Address(ip, 2886))
    scope = servers(spelled, str(host.address))
    answer = await host.api.post("/ob/stop", {"scope": scope, **FORCE})
    assert answer.status == 200, answer.envelope
    (recorded, *_) = await host.site.tasks.dags()
    assert json.loads(recorded.params)["targets"] == [[ip, 2886]]


@pytest.mark.parametrize(
    "ids", [None, [], ["11"], {}, {"id": None}, {"id": []}, {"id": ["11", "no id"]}], ids=str
)
async def test_ids_to_release_are_taken_in_both_shapes(start_member, ids):
    host = await start_member(zones=("zone1",))
    body = {"scope": GLOBAL, **FORCE, "forcePassDag": ids}
    assert (await host.api.post("/ob/stop", body)).status == 200
    given = ids["id"] if isinstance(ids, dict) and "id" in ids else ids
    (recorded, *_) = await host.site.tasks.dags()
    assert json.loads(recorded.params)["force_pass"] == (given or [])


@pytest.mark.parametrize("trail", [b"}", b"\n{}", b" trailing", b"\x00"])
async def test_what_follows_the_body_is_ignored(start_member, trail):
    host = await start_member(zones=("zone1",))
    body = json.dumps({"scope": GLOBAL, **FORCE}).encode()
    assert (await host.api.post("/ob/stop", b" \n" + body + trail)).status == 200


@pytest.mark.parametrize("body", [None, b"", b"  \r\n\t", b"null", b" null {}"])
async def test_an_empty_body_is_an_empty_object(unchanged_member, body):
    answer = await unchanged_member.local.post("/ob/stop", body)
    assert answer.refusal == SCOPE


@pytest.mark.parametrize("body", [b"{", b"scope", b"\xff{}", b"'", b"[" * 100_000, b"1" * 5000])
async def test_a_body_that_is_no_json_is_refused(unchanged_member, body):
    for door in (unchanged_member.api, unchanged_member.local):
        answer = await door.post("/ob/stop", body)
        check_envelope(answer)
        assert answer.refusal == BIND


async def test_a_failing_request_sent_twice_as_the_sdk_does_leaves_nothing(unchanged_member):
    for _ in range(2):
        assert await refused(unchanged_member, {"scope": GLOBAL}) == NEITHER
