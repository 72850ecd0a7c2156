"""All settings are checked before the first is made, and what was made is told if one fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.cluster.procedures import Caller, Nothing
from pyobshell.deadline import Deadline
from pyobshell.engines.ob_parameters import ParameterRow, Setting
from pyobshell.engines.sql import Refused
from pyobshell.operations import parameters
from pyobshell.operations.parameters import Settings
from pyobshell.requests import ParameterSetting

pytestmark = pytest.mark.anyio
SERVERS = [Address("10.0.0.1", 2882), Address("10.0.0.2", 2882)]


def row(name, value, *, server=0, scope="CLUSTER", level="DYNAMIC_EFFECTIVE", tenant=None):
    ip, port = SERVERS[server]
    about = ("1", "OBSERVER", "INT", f"about {name}")
    number = None if tenant is None else {"sys": 1, "t1": 1002}[tenant]
    place = (ip, port, f"zone{server + 1}", number, tenant, value)
    return ParameterRow(name, scope, level, *about, *place)


@dataclass
class FakeParameters:
    """A cluster with a few parameters, which notes what is set."""

    done: list[str] = field(default_factory=list)
    fails: dict[str, Exception] = field(default_factory=dict)
    known_tenants: tuple[str, ...] = ("sys", "t1")

    async def rows(self, deadline):
        of_tenants = [
            row("undo_retention", "1800", server=server, scope="TENANT", tenant=tenant)
            for server in (0, 1)
            for tenant in ("sys", "t1")
        ]
        return [
            row("_hidden", "1"),
            row("cpu_count", "4"),
            row("cpu_count", "8", server=1),
            row("data_dir", "store", level="READONLY"),
            *of_tenants,
        ]

    async def tenants(self, deadline):
        return self.known_tenants

    async def set(self, setting, deadline):
        if error := self.fails.get(str(setting)):
            raise error
        self.done.append(f"{setting} = {setting.value}")


@pytest.fixture
def fake():
    return FakeParameters()


@pytest.fixture
def site(fake):
    async def servers(deadline):
        return [SimpleNamespace(address=server) for server in SERVERS]

    async def zones(deadline):
        return [SimpleNamespace(name="zone1"), SimpleNamespace(name="zone2")]

    cluster = SimpleNamespace(parameters=fake, servers=servers, zones=zones)
    return SimpleNamespace(engine=SimpleNamespace(cluster=cluster, name="fake"))


def caller():
    return Caller(SERVERS[0], "", True, Deadline.after(10), print)


async def write(site, *settings):
    await parameters.write.handler(site, caller(), Settings(settings=list(settings)))


# --- what a request means ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "settings"),
    [
        ({"scope": "CLUSTER"}, ["p"]),
        ({"scope": "cluster", "zones": ["z1", "z2"]}, ["p ZONE z1", "p ZONE z2"]),
        ({"scope": "CLUSTER", "servers": ["[fe80:0::1]:2882"]}, ["p SERVER [fe80::1]:2882"]),
        ({"scope": "TENANT"}, ["p TENANT sys"]),
        ({"scope": "TENANT", "tenants": ["t1", "t2"]}, ["p TENANT t1", "p TENANT t2"]),
        ({"scope": "TENANT", "all_user_tenant": True}, ["p TENANT ALL_USER"]),
    ],
)
def test_a_request_is_a_statement_for_each_place(where, settings):
    made = list(parameters._settings(ParameterSetting(name="p", value="1", **where)))
    assert list(map(str, made)) == settings


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ({"scope": "SERVER"}, "scope"),
        ({"scope": ""}, "scope"),
        ({"scope": "CLUSTER", "zones": ["z"], "servers": ["10.0.0.1:2882"]}, "zones, servers"),
        ({"scope": "CLUSTER", "tenants": ["t"]}, "tenants, all_user_tenant"),
        ({"scope": "CLUSTER", "all_user_tenant": True}, "tenants, all_user_tenant"),
        ({"scope": "TENANT", "zones": ["z"]}, "zones, servers"),
        ({"scope": "TENANT", "tenants": ["t"], "all_user_tenant": True}, "all_user_tenant"),
    ],
)
def test_places_that_contradict_each_other_are_refused(where, named):
    with pytest.raises(errors.OBShellError, match=f"{named}' is invalid") as refused:
        list(parameters._settings(ParameterSetting(name="p", value="1", **where)))
    assert refused.value.code is errors.ILLEGAL_ARGUMENT


def test_a_server_is_named_with_its_port():
    asked = ParameterSetting(name="p", value="1", scope="CLUSTER", servers=["10.0.0.1"])
    with pytest.raises(errors.OBShellError) as refused:
        list(parameters._settings(asked))
    assert refused.value.code is errors.INVALID_ADDRESS


# --- checking and setting ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (Setting("nonsense", "1"), "no parameter nonsense"),
        (Setting("cpu_count` = 1; -- ", "1"), "no parameter"),
        (Setting("data_dir", "x"), "data_dir is read-only"),
        (Setting("cpu_count", "1", tenant="sys"), "a parameter of scope CLUSTER"),
        (Setting("undo_retention", "1"), "a parameter of scope TENANT"),
        (Setting("cpu_count", "1", zone="zone9"), "no zone9"),
        (Setting("cpu_count", "1", server="10.0.0.9:2882"), "no 10.0.0.9:2882"),
        (Setting("undo_retention", "1", tenant="t9"), "no t9"),
    ],
)
async def test_nothing_is_set_if_one_of_all_cannot_be(bad, why, site, fake):
    with pytest.raises(errors.OBShellError, match=why) as refused:
        await write(site, Setting("cpu_count", "2"), bad)
    assert refused.value.code is errors.ILLEGAL_ARGUMENT
    assert fake.done == []


async def test_all_tenants_of_users_are_no_place_if_there_is_none(site, fake):
    fake.known_tenants = ("sys",)
    with pytest.raises(errors.OBShellError, match="users have no tenant yet"):
        await write(site, Setting("undo_retention", "3", tenant="ALL_USER"))
    await write(site, Setting("undo_retention", "3", tenant="sys"))
    assert fake.done == ["undo_retention TENANT sys = 3"]


async def test_settings_are_made_in_their_order_hidden_ones_too(site, fake):
    await write(
        site,
        Setting("CPU_COUNT", "2", zone="zone2"),
        Setting("_hidden", "2", server="10.0.0.2:2882"),
        Setting("undo_retention", "3", tenant="ALL_USER"),
    )
    assert fake.done == [
        "CPU_COUNT ZONE zone2 = 2",
        "_hidden SERVER 10.0.0.2:2882 = 2",
        "undo_retention TENANT ALL_USER = 3",
    ]


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (Refused(4147, "bad value (4147)"), errors.MYSQL_ERROR, "bad value"),
        (errors.SERVER_UNAVAILABLE(reason="gone"), errors.SERVER_UNAVAILABLE, "gone"),
    ],
)
async def test_an_error_on_the_way_names_what_had_been_set(failure, code, said, site, fake):
    fake.fails["cpu_count ZONE zone2"] = failure
    wanted = [Setting("cpu_count", "2", zone=zone) for zone in ("zone1", "zone2")]
    with pytest.raises(
        errors.OBShellError, match=rf"zone2: {said}.*; set before it: cpu_count ZONE zone1$"
    ) as failed:
        await write(site, *wanted)
    assert failed.value.code is code
    assert fake.done == ["cpu_count ZONE zone1 = 2"]


# --- lists ---------------------------------------------------------------------------------------


async def test_parameters_are_told_by_name_with_all_their_values(site):
    told = await parameters.read.handler(site, caller(), Nothing())
    by_name = {one.name: one.model_dump(exclude_none=True) for one in told.parameters}
    assert list(by_name) == ["cpu_count", "data_dir", "undo_retention"]
    count = by_name["cpu_count"]
    assert (count["values"], count["is_single_value"]) == (["4", "8"], False)
    assert count["ob_parameters"][1] == {
        "svr_ip": "10.0.0.2",
        "svr_port": 2882,
        "zone": "zone2",
        "value": "8",
    }
    assert "tenant_value" not in count
    assert by_name["undo_retention"]["tenant_value"] == [
        {"tenant_id": 1, "tenant_name": "sys", "value": "1800"},
        {"tenant_id": 1002, "tenant_name": "t1", "value": "1800"},
    ]
    assert by_name["undo_retention"]["is_single_value"]


async def test_servers_that_form_no_cluster_have_no_parameters_here(site):
    site.engine.cluster = None
    with pytest.raises(errors.OBShellError, match="form no cluster") as refused:
        await parameters.read.handler(site, caller(), Nothing())
    assert refused.value.code is errors.ILLEGAL_ARGUMENT
