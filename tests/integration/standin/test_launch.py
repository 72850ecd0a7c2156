"""The stand-in is started, restarted and refused as the real observer is."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

import psutil
import pytest

from standin.control import OBSERVER
from support.standin_clusters import eventually

pytestmark = pytest.mark.long


@pytest.fixture
def node(make_cluster):
    return make_cluster("zone1").nodes[0]


def test_the_version_is_told_as_operators_parse_it(node):
    done = node.run("-V")
    text = done.stdout + done.stderr
    assert done.returncode == 0
    assert re.search(r"\(OceanBase(_CE)?\s*([\d.]+)\)", text)
    assert re.search(r"REVISION:\s*(\d+)-([a-fA-F0-9]+)", text)


def test_a_first_start_leaves_what_operators_look_for(node):
    node.start("-l", "WDIAG", "-o", "memory_limit=8G,cpu_count=4")
    process = psutil.Process(node.pid)
    assert Path(process.cwd()) == node.home
    assert process.name() == "observer"
    assert (node.home / "store/sstable/block_file").stat().st_size > 0
    assert (node.home / "log/observer.log").stat().st_size > 0
    raw = (node.home / "etc/observer.config.bin").read_bytes()
    assert raw.startswith(b"\0")
    lines = raw.lstrip(b"\0").decode().splitlines()
    wanted = {"zone=zone1", f"mysql_port={node.sql_port}", f"rpc_port={node.rpc_port}"}
    wanted |= {"local_ip=127.0.0.1", "cluster=a cluster", "memory_limit=8G", "cpu_count=4"}
    assert wanted <= set(lines)
    opened = {file.path for file in process.open_files()}
    assert str(node.home / "store/sstable/block_file") in opened


def test_a_restart_takes_no_option(node):
    node.start()
    before = node.pid
    node.kill()
    done = node.run()
    assert done.returncode == 0
    assert node.pid != before
    assert node.sql("select 1") == ((1,),)


def test_a_second_process_on_one_home_is_refused(node):
    node.start()
    before = node.pid
    done = node.run()
    assert done.returncode != 0
    assert f"already running as process {before}" in done.stderr
    assert node.pid == before


@pytest.mark.parametrize("port", ["sql_port", "rpc_port"])
def test_a_taken_port_is_refused(node, port):
    with socket.create_server(("127.0.0.1", getattr(node, port))):
        done = node.run(*node.first_options())
    assert done.returncode != 0
    assert "address already in use" in done.stderr.lower()
    assert not (node.home / "etc/observer.config.bin").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-z", "zone1"], "first start needs cluster, cluster_id"),
        (["--nonsense"], "unknown option --nonsense"),
        (["-n"], "requires an argument"),
        (["-o", "nonsense"], "invalid parameter"),
        (["-p", "80"], "first start needs"),
    ],
)
def test_bad_options_are_refused(node, options, said):
    done = node.run(*options)
    assert done.returncode != 0
    assert said in done.stderr


def test_the_address_may_be_that_of_a_device(node):
    options = node.first_options()
    at = options.index("-I")
    options[at : at + 2] = ["-i", "lo"]
    assert node.run(*options).returncode == 0
    assert "local_ip=127.0.0.1" in (node.home / "etc/observer.config.bin").read_text()


def test_before_bootstrap_a_server_answers_little(node):
    node.start()
    assert node.sql("select 1") == ((1,),)
    version = node.sql("SET ob_query_timeout=1000000000", "SELECT VERSION()")[0][0]
    assert re.search(r"OceanBase[\s_]CE", version)
    named = node.sql("select 1 as a, now(6), @@session.sql_mode, ob_version()")
    assert (named[0][0], named[0][3]) == (1, "4.3.5.3")
    assert node.sql("show variables like 'lower_case_table_names'")[0][1] == "1"
    assert node.sql("show warnings") == ()
    assert node.fails("show databases")[0] == 1146
    assert node.fails("select count(*) from oceanbase.__ALL_DATABASE limit 1")[0] == 1146
    assert node.fails("select 1", password="some")[0] == 1045
    assert node.fails("select 1", database="ocs")[0] == 1049


def test_sigterm_ends_a_server_unless_it_is_told_to_ignore_it(node):
    node.start()
    process = psutil.Process(node.pid)
    node.faults.set(ignore_sigterm=True)
    node.signal(signal.SIGTERM)
    assert node.sql("select 1") == ((1,),)
    node.faults.clear()
    node.signal(signal.SIGTERM)
    process.wait(10)


def test_the_program_can_be_run_by_any_user():
    assert OBSERVER.stat().st_mode & 0o777 == 0o755


def test_a_cluster_speaks_ipv6_in_a_deep_directory(make_cluster):
    cluster = make_cluster("zone1", cluster_id=11)
    cluster.base /= "deep" * 40
    node = cluster.nodes[0]
    node.home, node.ip = cluster.base / "home", "::1"
    node.home.mkdir(parents=True)
    node.start("-6")
    cluster.bootstrap()
    row = node.sql("select svr_ip, svr_port, status from oceanbase.DBA_OB_SERVERS")[0]
    assert row == ("::1", node.rpc_port, "ACTIVE")
    assert node.sql("select paxos_member_list from oceanbase.GV$OB_LOG_STAT") == (
        (f"{node.address}:1",),
    )
    node.kill()
    node.start()
    eventually(node.serves)
