"""The stand-in understands the statements of a cluster, and leaves all others as they are."""

from __future__ import annotations

import pytest

from standin.errors import SqlError
from standin.rewriting import for_seekdb
from standin.sql_text import needs_tables, new_timeout, timeout_of
from standin.statements import Command, is_cluster_statement, parse

NOWHERE = {"region": None, "idc": None}


@pytest.mark.parametrize(
    ("text", "verb", "args"),
    [
        (
            "ALTER SYSTEM BOOTSTRAP REGION 'r' ZONE 'z1' IDC 'i' SERVER 'a:1',"
            ' ZONE z2 SERVER "[::1]:2"',
            "bootstrap",
            {
                "members": [
                    {"region": "r", "zone": "z1", "server": "a:1"},
                    {"region": "sys_region", "zone": "z2", "server": "[::1]:2"},
                ]
            },
        ),
        (
            "alter system cancel delete server 'a:1', 'b:2' zone = 'z'",
            "server",
            {"action": "CANCEL DELETE", "servers": ["a:1", "b:2"], "zone": "z"},
        ),
        (
            "/* why */ ALTER  SYSTEM\nFORCE STOP ZONE `z`;",
            "zone",
            {"action": "FORCE STOP", "zone": "z", **NOWHERE},
        ),
        (
            "alter system minor freeze server = ('a:1','b:2')",
            "minor freeze",
            {"servers": ["a:1", "b:2"], "zone": None, "tenants": None},
        ),
        (
            "ALTER SYSTEM SET `a` = \"it's\" SERVER = 'a:1', b = 1 TENANT = `t`",
            "set",
            {
                "settings": [
                    {"name": "a", "value": "it's", "server": "a:1"},
                    {"name": "b", "value": "1", "tenant": "t"},
                ]
            },
        ),
        (
            "CREATE RESOURCE POOL IF NOT EXISTS p UNIT='u', UNIT_NUM 2, ZONE_LIST=('z1','z2')",
            "create pool",
            {"lenient": True, "name": "p", "unit": "u", "unit_num": 2, "zone_list": ["z1", "z2"]},
        ),
        (
            'ALTER TENANT `t` LOCALITY = "FULL@z1, READONLY@z2"',
            "alter tenant",
            {"lenient": False, "name": "t", "locality": "FULL@z1, READONLY@z2"},
        ),
    ],
)
def test_a_cluster_statement_is_understood(text, verb, args):
    assert is_cluster_statement(text)
    assert parse(text) == Command(verb, args)


@pytest.mark.parametrize(
    "text",
    ["alter system", "alter system stop server", "alter system stop zone z1 z2", "drop tenant"],
)
def test_what_is_incomplete_or_too_much_is_a_syntax_error(text):
    with pytest.raises(SqlError) as failed:
        parse(text)
    assert failed.value.errno == 1064


@pytest.mark.parametrize(
    "text", ["alter table t add a int", "create table tenant(a int)", "select 1"]
)
def test_other_statements_are_not_of_the_cluster(text):
    assert not is_cluster_statement(text)


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("select 1", False),
        ("select now(6), 'from here'", False),
        ("select 1 from dual", False),
        ("set autocommit = 1", False),
        ("rollback", False),
        ("commit", True),
        ("select * from t", True),
        ("show databases", True),
        ("show warnings", False),
        ("insert into t values (1)", True),
    ],
)
def test_it_is_known_what_needs_a_leader(text, needs):
    assert needs_tables(text) is needs


def test_a_hint_goes_before_the_timeout_of_the_session():
    assert new_timeout("SET SESSION autocommit=1, ob_query_timeout = 60000000") == 60_000_000
    assert timeout_of("select /*+ QUERY_TIMEOUT(2000000) */ 1", 7) == 2_000_000
    assert timeout_of("select 1", 7) == 7


@pytest.mark.parametrize(
    "text",
    [
        "insert into t values ('version() __all_virtual_ls_info V$OB_PARAMETERS')",
        "select 'it''s version()', \"a \\\" version()\" /* version() */ from t",
        "select ob_version(), t.version() from oceanbase.GV$OB_PARAMETERS",
    ],
)
def test_strings_and_longer_names_are_not_changed(text):
    assert for_seekdb(text, "1.2.3.4", 5) == text


def test_names_that_mean_something_else_to_seekdb_are_changed():
    changed = for_seekdb("select 1 from oceanbase.`V$OB_PARAMETERS` p", "1.2.3.4", 5)
    own = "FROM oceanbase.`GV$OB_PARAMETERS` WHERE SVR_IP = '1.2.3.4' AND SVR_PORT = 5"
    assert changed == f"select 1 from (SELECT * {own}) p"
    text = "select * from oceanbase.__ALL_virtual_ls_info"
    assert for_seekdb(text, "", 0) == "select * from oceanbase.standin_ls_info"
