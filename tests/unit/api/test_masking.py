"""Secrets of requests are recognised by their names, wherever they stand."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyobshell.api.app import make_app
from pyobshell.api.masking import masked_body, masked_target
from pyobshell.secret_names import MASK, is_secret

SECRET = "S3cr3tTh1ng"
NAMES = (
    *("context", "data_base_uri", "backup_base_uri", "archive_base_uri", "data_backup_uri"),
    *("archive_log_uri", "decryption", "encryption", "root_password", "password", "new_password"),
    *("old_password", "tenant_password", "token", "proxyro_password", "rootPwd"),
    *("obproxy_sys_password", "masterPassword", "targetAgentPassword", "passphrase", "aes_key"),
)

names = st.sampled_from(NAMES).flatmap(
    lambda name: (
        st.sampled_from([name, name.upper(), name.lower(), name.title(), "x_" + name])
        if name not in ("context", "encryption", "decryption") and not name.endswith("_uri")
        else st.sampled_from([name, name.upper(), name.title()])
    )
)
harmless = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
holding = st.recursive(
    st.just(SECRET),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, min_size=1, max_size=3)
    ),
    max_leaves=4,
)
secrets = (
    names.flatmap(lambda name: holding.map(lambda value: {name: value}))
    | names.map(lambda name: {"name": name, "Value": SECRET, "scope": "CLUSTER"})
    | names.filter(lambda n: "passw" in n.lower()).map(
        lambda name: {"sql": f"SET GLOBAL {name} = '{SECRET}'", "and": "more"}
    )
    | st.just({"sql": f"ALTER USER root IDENTIFIED BY '{SECRET}'"})
    | st.just({"dest": f"oss://b?host=h&access_id={SECRET}&access_key={SECRET}"})
)
bodies = st.recursive(
    secrets,
    lambda inner: (
        st.lists(inner | harmless, min_size=1, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner | harmless, min_size=1, max_size=3)
    ),
    max_leaves=6,
)


@given(bodies)
def test_no_secret_of_a_body_is_shown(body):
    shown = masked_body(json.dumps(body).encode())
    assert SECRET not in shown
    json.loads(shown)


@given(names)
def test_no_secret_of_a_query_is_shown(name):
    for spelled in (name, name.replace("o", "%6f").replace("_", "%5F")):
        shown = masked_target(f"/api/v1/ob/stop?a=1&{spelled}={SECRET}&b=2")
        assert SECRET not in shown
        assert shown.startswith("/api/v1/ob/stop?a=1&")
        assert shown.endswith("&b=2")


def test_what_is_no_secret_is_shown_as_it_is():
    body = {
        "scope": {"type": "ZONE", "target": ["zone1"]},
        "forcePassDag": {"id": ["2130"]},
        "force": True,
        "observerConfig": {"mysql_port": "2881", "memory_limit": "8G"},
        "params": [{"name": "cpu_count", "value": "16", "scope": "CLUSTER"}],
        "x": [None, 1.5, "密码"],
    }
    assert json.loads(masked_body(json.dumps(body).encode())) == body
    assert masked_target("/api/v1/zone/zone1?x=%41&y") == "/api/v1/zone/zone1?x=%41&y"


@pytest.mark.parametrize("body", [b"", b"[1]", b'"secret"', b"7", b"{", b"\xff", b"[" * 5000])
def test_what_is_no_object_is_not_shown(body):
    assert masked_body(body) == json.dumps(MASK)


@pytest.mark.parametrize(
    "body",
    [
        {"a": "x" * 1_000_000},
        {"a": ["x" * 1000] * 1000, "b": 1},
        {f"key {n}": n for n in range(100_000)},
        {"a" * 100_000: 1},
        {"a": {"b": list(range(100_000))}},
    ],
    ids=["a long text", "a long list", "many keys", "a long key", "a long list below"],
)
def test_however_long_a_body_is_what_is_shown_is_short_and_json(body):
    shown = masked_body(json.dumps(body).encode())
    assert len(shown) < 8300
    assert json.loads(shown)
    if "b" in body:
        assert json.loads(shown) == {"a": "…", "b": 1}


def test_what_is_nested_deeply_is_left_out():
    body: object = 1
    for _ in range(200):
        body = {"a": body}
    assert "…" in masked_body(json.dumps(body).encode())


def test_half_a_character_can_be_shown():
    assert masked_body(b'{"a": "\\ud800"}') == '{"a":"?"}'


def test_a_long_target_is_cut():
    assert len(masked_target("/" + "x" * 100_000)) < 1100


def test_no_secret_has_an_example_or_a_default_in_the_openapi_document():
    found, secrets = [make_app(SimpleNamespace()).openapi()], []
    while found:
        inner = found.pop()
        if isinstance(inner, list):
            found += inner
        elif isinstance(inner, dict):
            found += inner.values()
            secrets += [one for name, one in inner.get("properties", {}).items() if is_secret(name)]
    assert len(secrets) > 3
    for secret in secrets:
        assert not {"example", "examples", "enum", "const"} & secret.keys()
        assert not secret.get("default")


@pytest.mark.parametrize(
    "body",
    [
        {"pass": SECRET},
        {"pw": SECRET},
        {"key": "root_password", "value": SECRET},
        {"items": ["password", SECRET]},
        {f"password={SECRET}": 1},
        {"run": f"mysql -uroot -p{SECRET} -h x"},
        {"run": f"obshell cluster init --rp {SECRET}"},
        {"run": f"mysql -uroot -p {SECRET} -h x"},
        {"run": f"curl -H 'Authorization: Basic {SECRET}'"},
        {"auth": SECRET},
        {"X-OCS-Auth": SECRET},
        {"apiKey": SECRET},
        {"api_key": SECRET},
        {"Cookie": f"session={SECRET}"},
        {"rp": SECRET},
        {"dest": f"mysql://root:{SECRET}@10.0.0.1:2881/oceanbase"},
        {"field": "password", "value": SECRET},
        {"id": "password", "value": SECRET},
        {"target": "password", "value": SECRET},
        {"pem": f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----"},
    ],
    ids=str,
)
def test_nor_one_that_is_spelled_in_another_way(body):
    assert SECRET not in masked_body(json.dumps(body).encode())


@pytest.mark.parametrize(
    "query", [f"pw={SECRET}", f"pass={SECRET}", f"q=password%3D{SECRET}", f"a=1;password={SECRET}"]
)
def test_nor_one_in_a_query(query):
    assert SECRET not in masked_target(f"/api/v1/time?{query}")


def test_what_is_no_secret_is_shown():
    body = {
        "scope": {"type": "ZONE", "target": ["zone1", "compass"]},
        "forcePassDag": {"id": ["1"]},
    }
    assert json.loads(masked_body(json.dumps(body).encode())) == body
    assert masked_target("/api/v1/x?a=1;b=2&c=3") == "/api/v1/x?a=1;b=2&c=3"
    assert masked_body(b'{"see": "http://10.0.0.1:2886/docs"}') == (
        '{"see":"http://10.0.0.1:2886/docs"}'
    )
