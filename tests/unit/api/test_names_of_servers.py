"""Names in requests are kept as they are or refused, whatever they look like; nothing else is."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from pyobshell.cluster.model import Identity
from support.asking import check_envelope
from support.hostile_names import UNSEEN, VISIBLE
from support.undertakings import wait_end

pytestmark = pytest.mark.anyio
ALL = VISIBLE | UNSEEN
GLOBAL = {"type": "GLOBAL"}


def requests(name):
    """Requests that name a server, a zone, an option with it."""
    own = {"ip": "127.0.0.1", "port": 2886}
    yield "POST", "/agent/join", {"agentInfo": {**own, "ip": name}, "zoneName": "z"}
    yield "POST", "/agent/remove", {**own, "ip": name}
    for kind in (name, "ZONE", "SERVER"):
        scope = {"type": kind, "target": [name]}
        for path in ("/ob/stop", "/ob/start"):
            yield "POST", path, {"scope": scope, "force": True}
        yield "POST", "/observer/config", {"observerConfig": {"cpu_count": "1"}, "scope": scope}
    yield "POST", "/observer/config", {"observerConfig": {name: "1"}, "scope": GLOBAL}
    yield "POST", "/observer/config", {"observerConfig": {"mysql_port": name}, "scope": GLOBAL}
    yield "POST", "/ob/scale_out", {"agentInfo": own, "zone": name, "obConfigs": {}}
    yield "POST", f"/ob/zone/{quote(name, safe='')}/stop", {}
    yield "DELETE", f"/zone/{quote(name, safe='')}", None
    yield "GET", f"/task/dag/{quote(name, safe='')}", None
    yield "GET", f"/audit?dag={quote(name)}", None
    item = {"name": name, "value": name, "scope": "CLUSTER"}
    yield "PATCH", "/obcluster/parameters", {"params": [item]}


@pytest.mark.parametrize("name", ALL.values(), ids=ALL)
async def test_a_name_of_nothing_is_refused_wherever_it_is_given(
    unchanged_member, unchanged_master, unchanged_single, name
):
    fitting = {"/agent/join": unchanged_single, "/observer/config": unchanged_master}
    for method, path, body in requests(name):
        answer = await fitting.get(path, unchanged_member).local.ask(method, path, body)
        check_envelope(answer)
        assert answer.status in (400, 404), (method, path, answer.envelope)


@pytest.mark.parametrize("name", UNSEEN.values(), ids=UNSEEN)
async def test_what_cannot_be_seen_is_no_name(unchanged_master, unchanged_single, name):
    own = unchanged_single.address.wire
    answers = [
        await unchanged_single.local.post("/agent/join", {"agentInfo": own, "zoneName": name}),
        await unchanged_master.local.post(
            "/obcluster/config", {"clusterId": 1, "clusterName": name, "rootPwd": "x"}
        ),
        await unchanged_master.local.post(
            "/observer/config", {"observerConfig": {"data_dir": name}, "scope": GLOBAL}
        ),
    ]
    for answer in answers:
        check_envelope(answer)
        assert answer.refusal == ("Common.IllegalArgument", 400)


async def test_a_word_for_a_server_cannot_be_an_option(unchanged_master):
    body = {"observerConfig": {"syslog_level": "--initialize"}, "scope": GLOBAL}
    answer = await unchanged_master.local.post("/observer/config", body)
    assert answer.refusal == ("Common.IllegalArgument", 400)


@pytest.mark.parametrize("name", VISIBLE.values(), ids=VISIBLE)
async def test_what_can_be_seen_is_kept_as_it_is(start_member, name):
    host = await start_member(Identity.MASTER, ["zone1"])
    config = {"clusterId": 1, "clusterName": name, "rootPwd": name}
    begun = await host.local.post("/obcluster/config", config)
    assert (await wait_end(host, begun.data["id"]))["state"] == "SUCCEED"
    options = {"observerConfig": {"data_dir": name, "some_name": name}, "scope": GLOBAL}
    begun = await host.local.post("/observer/config", options)
    assert (await wait_end(host, begun.data["id"]))["state"] == "SUCCEED"
    assert host.site.cluster.view.cluster_name == name
    assert host.site.cluster.passwords.root == name
