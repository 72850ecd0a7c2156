"""A cluster is made of agents that have come together, and unmade while that is possible."""

from __future__ import annotations

import pytest

from pyobshell import errors
from pyobshell.cluster.model import Identity
from support.undertakings import locked, logs_of, outline, states, wait_end

pytestmark = pytest.mark.anyio

MASTER, FOLLOWER, MEMBER = Identity.MASTER, Identity.FOLLOWER, Identity.CLUSTER_AGENT
PASSWORD = 'a new "password" 密码'


@pytest.fixture
async def agents(anyio_backend, hosts):
    """A master and its follower."""
    async with hosts.serving(2, [MASTER, FOLLOWER]) as made:
        yield made


async def ask(host, path, body):
    """A task, as the agent that was asked shows it in the end."""
    answer = await host.api.post(path, body)
    assert answer.status == 200, answer.envelope
    return await wait_end(host, answer.data["id"])


async def identities(hosts):
    return [(await host.api.plain("GET", "/api/v1/info")).data["identity"] for host in hosts]


async def test_a_cluster_is_configured_and_made(agents):
    master, follower = agents
    options = {"mysql_port": "3881", "rpc_port": "3882"}
    body = {"observerConfig": options, "scope": {"type": "GLOBAL"}}
    assert (await ask(master, "/observer/config", body))["name"] == "Update observer config"
    body = {"clusterId": 9, "clusterName": "made", "rootPwd": PASSWORD}
    assert (await ask(master, "/obcluster/config", body))["name"] == "Update cluster config"
    master.api.password = follower.api.password = PASSWORD
    dag = await ask(master, "/ob/init", None)
    assert (dag["name"], dag["state"]) == ("Initialize cluster", "SUCCEED")
    assert {state for _, state in outline(dag)} == {"SUCCEED"}
    assert [name for name, _ in outline(dag)] == [
        "Integrate config",
        "Create observer workdir",
        "Start observer",
        "Cluster boostrap",
        "Modify password",
        "Convert follower to cluster agent",
        "Synchronize agent from cluster",
        "Convert master to cluster agent",
        "Synchronize agent from cluster",
    ]
    assert PASSWORD not in str(dag)
    assert await identities(agents) == [MEMBER, MEMBER]
    for host in agents:
        assert host.engine.deeds == ["check_start", "deploy", "start", "set_root_password"]
        assert host.engine.password == host.engine.used_password == PASSWORD
        info = (await host.api.get("/ob/info")).data
        assert [one["identity"] for one in info["agent_info"]] == [MEMBER, MEMBER]
        cluster = info["obcluster_info"]
        assert (cluster["id"], cluster["name"]) == (9, "made")
        servers = [one for zone in cluster["topology"].values() for one in zone]
        assert [(one["sql_port"], one["svr_port"], one["status"]) for one in servers] == [
            (3881, 3882, "ACTIVE")
        ] * 2
    assert await locked(agents) == [False, False]
    assert await states(agents) == [3, 3]


async def test_a_user_for_proxies_is_made_on_every_server_if_wanted(agents):
    body = {"create_proxyro_user": True, "proxyro_password": PASSWORD}
    dag = await ask(agents[0], "/ob/init", body)
    assert dag["state"] == "SUCCEED"
    assert "Create user: proxyro" in [name for name, _ in outline(dag)]
    assert PASSWORD not in str(dag)
    assert [host.engine.deeds[-1] for host in agents] == ["create_proxyro"] * 2


async def test_a_making_that_fails_is_rolled_back_everywhere(agents):
    master, follower = agents
    follower.engine.failures["start"] = errors.SERVER_UNAVAILABLE(reason="no memory")
    # As when another server has the port, which is why this one did not start.
    follower.engine.failures["kill"] = errors.SERVER_PROCESS_CHECK_FAILED(reason="port in use")
    dag = await ask(master, "/ob/init", {})
    assert (dag["state"], dag["stage"]) == ("FAILED", 3)
    assert any("no memory" in line for line in logs_of(dag["nodes"][2]))
    assert await locked(agents) == [True, False]
    answer = await master.api.post(f"/task/dag/{dag['id']}", {"operator": "ROLLBACK"})
    assert answer.status == 200
    dag = await wait_end(master, dag["id"])
    assert (dag["state"], dag["operator"], dag["stage"]) == ("SUCCEED", "ROLLBACK", 1)
    assert master.engine.deeds[-2:] == ["kill", "destroy"]
    assert follower.engine.deeds[-1] == "destroy"
    assert "kill" not in follower.engine.deeds
    assert await identities(agents) == [MASTER, FOLLOWER]
    assert await locked(agents) == [False, False]
    follower.engine.failures.clear()
    assert (await ask(master, "/ob/init", {}))["state"] == "SUCCEED"


async def test_what_was_rolled_back_has_no_password_any_more(agents):
    master, follower = agents
    body = {"clusterId": 9, "clusterName": "made", "rootPwd": PASSWORD}
    await ask(master, "/obcluster/config", body)
    master.api.password = follower.api.password = PASSWORD
    follower.engine.failures["create_proxyro"] = errors.MYSQL_ERROR(cause="no")
    proxy = {"create_proxyro_user": True, "proxyro_password": "p"}
    dag = await ask(master, "/ob/init", proxy)
    assert (dag["state"], dag["stage"]) == ("FAILED", 6)
    assert [host.engine.used_password for host in agents] == [PASSWORD, PASSWORD]
    await master.api.post(f"/task/dag/{dag['id']}", {"operator": "ROLLBACK"})
    assert (await wait_end(master, dag["id"]))["state"] == "SUCCEED"
    assert [host.engine.used_password for host in agents] == ["", ""]
    follower.engine.failures.clear()
    assert (await ask(master, "/ob/init", proxy))["state"] == "SUCCEED"
    assert [host.engine.used_password for host in agents] == [PASSWORD, PASSWORD]


async def test_a_home_with_the_files_of_another_server_is_left_alone(agents):
    master, follower = agents
    follower.engine.initialized = True
    dag = await ask(master, "/ob/init", {})
    assert (dag["state"], dag["stage"]) == ("FAILED", 2)
    assert any("has the files of a server" in line for line in logs_of(dag["nodes"][1]))
    await master.api.post(f"/task/dag/{dag['id']}", {"operator": "ROLLBACK"})
    assert (await wait_end(master, dag["id"]))["state"] == "SUCCEED"
    assert follower.engine.deeds == []
    assert follower.engine.initialized


async def test_a_making_that_fails_can_be_tried_again(agents):
    master, follower = agents
    follower.engine.failures["set_root_password"] = errors.MYSQL_ERROR(cause="busy")
    dag = await ask(master, "/ob/init", {})
    assert (dag["state"], dag["stage"]) == ("FAILED", 5)
    follower.engine.failures.clear()
    await master.api.post(f"/task/dag/{dag['id']}", {"operator": "RETRY"})
    assert (await wait_end(master, dag["id"]))["state"] == "SUCCEED"
    assert master.engine.deeds.count("set_root_password") == 1
    assert await identities(agents) == [MEMBER, MEMBER]


@pytest.mark.parametrize(
    ("path", "body", "refusal"),
    [
        ("/obcluster/config", {"clusterName": "c"}, "OB.Cluster.Id.Invalid"),
        ("/obcluster/config", {"clusterId": -1, "clusterName": "c"}, "OB.Cluster.Id.Invalid"),
        ("/obcluster/config", {"clusterId": 1, "clusterName": " "}, "OB.Cluster.Name.Empty"),
        ("/obcluster/config", {"clusterId": "1", "clusterName": "c"}, "Common.BindJsonFailed"),
        ("/observer/config", {}, "Common.BindJsonFailed"),
        ("/observer/config", {"observerConfig": {}}, "Common.IllegalArgument"),
        ("/observer/config", {"observerConfig": {"zone": "z"}}, "Common.IllegalArgument"),
        ("/observer/config", {"observerConfig": {"a b": "z"}}, "Common.IllegalArgument"),
        ("/observer/config", {"observerConfig": {"a": "1\n2"}}, "Common.IllegalArgument"),
        ("/observer/config", {"observerConfig": {"mysql_port": "80"}}, "Common.InvalidPort"),
        ("/observer/config", {"observerConfig": {"rpcPort": "x"}}, "Common.InvalidPort"),
        (
            "/observer/config",
            {"observerConfig": {"mysqlPort": "3881", "mysql_port": "3882"}},
            "Common.IllegalArgument",
        ),
        ("/observer/config", {"observerConfig": {"a": "b"}}, "OB.Cluster.Scope.Invalid"),
        ("/ob/init", {"import_script": True}, "Common.IllegalArgument"),
        ("/ob/init", {"import_script": 1}, "Common.BindJsonFailed"),
    ],
    ids=str,
)
async def test_what_does_not_fit_is_refused(unchanged_master, path, body, refusal):
    answer = await unchanged_master.api.post(path, body)
    assert answer.refusal == (refusal, 400)


SET_UP = [
    ("/obcluster/config", {"clusterId": 1, "clusterName": "c"}),
    ("/observer/config", {"observerConfig": {"a": "b"}, "scope": {"type": "GLOBAL"}}),
    ("/ob/init", {}),
]


@pytest.mark.parametrize(("path", "body"), SET_UP)
async def test_a_cluster_that_is_made_is_not_set_up_again(unchanged_member, path, body):
    answer = await unchanged_member.api.post(path, body)
    assert answer.refusal == ("OB.Cluster.AlreadyInitialized", 400)


@pytest.mark.parametrize(("path", "body"), SET_UP)
async def test_an_agent_that_does_not_lead_sets_nothing_up(unchanged_single, path, body):
    answer = await unchanged_single.api.post(path, body)
    assert answer.refusal == ("Agent.Identify.NotSupportOperation", 400)
