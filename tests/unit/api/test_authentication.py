"""Who may call: each way to prove oneself, each way to fail, and the number clients act on."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import time

import pytest
from Crypto.Cipher import AES
from Crypto.Util.Padding import pad

from pyobshell.api.call import Call
from pyobshell.cluster.model import Identity
from pyobshell.errors import OBShellError
from pyobshell.security.backoff import FREE
from pyobshell.security.verify import Passwords
from support.agents import ROOT_PASSWORD
from support.asking import AGENT_HEADER, ROOT_HEADER, V1_HEADER, check_envelope, sealed_fields
from support.undertakings import FORCE_ALL
from support.waiting import Gate

pytestmark = pytest.mark.anyio

AGENTS = "/ob/agents"
TARGET = "/api/v1" + AGENTS
PREFIX = "Security.Authentication."
DECRYPT_FAILED = (PREFIX + "Header.DecryptFailed", 401, 1)
URI_MISMATCH = (PREFIX + "Header.UriMismatch", 401, 10008)
TIMESTAMP = (PREFIX + "Timestamp.Invalid", 401, 10008)
EXPIRED = (PREFIX + "Expired", 401, 10008)
WRONG_ROOT = (PREFIX + "IncorrectOceanbasePassword", 401, 10008)
WRONG_AGENT = (PREFIX + "IncorrectAgentPassword", 401, 10008)
NEEDS_AGENT = (PREFIX + "WithAgentPassword", 401, 10008)
NEEDS_ROOT = (PREFIX + "WithOceanBasePassword", 401, 10008)
BIND = ("Common.BindJsonFailed", 400, None)
KEYS = ("Request.Body.Decrypt.AES.KeyAndIv.Invalid", 400, None)
LENGTH = ("Request.Body.Decrypt.AES.ContentLength.Invalid", 400, None)
AES_KEYS = bytes(range(32))


def outcome(answer):
    """None for a request that passed, else code, status and number of the refusal."""
    check_envelope(answer)
    if answer.status == 200:
        return None
    return *answer.refusal, answer.envelope["error"].get("code")


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_without_a_header_nobody_gets_in(unchanged_member):
    answer = await unchanged_member.api.plain("GET", TARGET)
    assert outcome(answer) == ("Request.Header.NotFound", 400, None)


@pytest.mark.parametrize("header", [ROOT_HEADER, AGENT_HEADER, V1_HEADER])
@pytest.mark.parametrize(
    "value",
    ["", "garbage", "====", encoded(b"short"), encoded(bytes(256)), encoded(bytes(512)), "é"],
)
async def test_a_header_that_cannot_be_opened_has_clients_fetch_the_key_anew(
    unchanged_member, header, value
):
    answer = await unchanged_member.api.plain(
        "GET", TARGET, headers={header: value.encode("latin-1")}
    )
    assert outcome(answer) == DECRYPT_FAILED


async def test_of_headers_that_cannot_be_opened_nothing_is_left_in_memory(unchanged_member):
    """Not even until circles are looked for, which in a flood are as large as what was sent."""

    def kept() -> int:
        return sum(isinstance(one, OBShellError | Call) for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = kept()
        for _ in range(10):
            await unchanged_member.api.plain("GET", TARGET, headers={ROOT_HEADER: "garbage"})
        assert kept() - before <= 2  # the last one's, until the next
    finally:
        gc.enable()


async def test_a_header_made_with_another_key_cannot_be_opened(unchanged_member, keys):
    fields = {"auth": ROOT_PASSWORD, "ts": str(int(time.time()) + 60), "uri": TARGET}
    stranger = sealed_fields(keys[1].public, fields)
    answer = await unchanged_member.api.plain("GET", TARGET, headers={ROOT_HEADER: stranger})
    assert outcome(answer) == DECRYPT_FAILED


NOW = int(time.time())
WRONG_FIELDS = {
    "made for another route": ({"uri": "/api/v1/ob/info"}, URI_MISMATCH),
    "made for another spelling": ({"uri": TARGET.upper()}, URI_MISMATCH),
    "made for a route and a query": ({"uri": TARGET + "?x=1"}, URI_MISMATCH),
    "made for a route without its prefix": ({"uri": AGENTS}, URI_MISMATCH),
    "made for nothing": ({"uri": ""}, URI_MISMATCH),
    "made for null": ({"uri": None}, URI_MISMATCH),
    "made for a number": ({"uri": 1}, DECRYPT_FAILED),
    "expired long ago": ({"ts": "1"}, EXPIRED),
    "expired": ({"ts": str(NOW - 5)}, EXPIRED),
    "of no moment": ({"ts": "soon"}, TIMESTAMP),
    "of an empty moment": ({"ts": ""}, TIMESTAMP),
    "of a moment with a fraction": ({"ts": f"{NOW + 60}.5"}, TIMESTAMP),
    "of a moment of a number": ({"ts": NOW + 60}, DECRYPT_FAILED),
    "with a wrong password": ({"auth": "wrong"}, WRONG_ROOT),
    "with an empty password": ({"auth": ""}, WRONG_ROOT),
    "with no password": ({"auth": None}, WRONG_ROOT),
    "with a number for a password": ({"auth": 1}, DECRYPT_FAILED),
    "wrong in uri and ts": ({"uri": "/", "ts": "soon", "auth": "wrong"}, URI_MISMATCH),
    "wrong in ts and password": ({"ts": "soon", "auth": "wrong"}, TIMESTAMP),
    "expired and with a wrong password": ({"ts": "1", "auth": "wrong"}, EXPIRED),
    "expired and without a password": ({"ts": "1", "auth": ""}, EXPIRED),
    "right, with fields nobody knows": ({"ForwardType": 0, "Sha256": ""}, None),
}


@pytest.mark.parametrize(("wrong", "expected"), WRONG_FIELDS.values(), ids=WRONG_FIELDS.keys())
async def test_a_header_counts_for_one_request_until_it_expires(unchanged_member, wrong, expected):
    assert outcome(await unchanged_member.api.get(AGENTS, **wrong)) == expected


async def test_a_header_is_bound_to_the_query_as_it_was_written(unchanged_member):
    path = "/task/dag/unfinish?show_details=True&x=%41"
    assert outcome(await unchanged_member.api.get(path)) is None
    for uri in ("/api/v1/task/dag/unfinish", "/api/v1/task/dag/unfinish?show_details=True&x=A"):
        assert outcome(await unchanged_member.api.get(path, uri=uri)) == URI_MISMATCH


async def test_names_in_the_header_are_read_in_any_case(unchanged_member):
    fields = {"Auth": ROOT_PASSWORD, "TS": str(int(time.time()) + 60), "Uri": TARGET}
    value = sealed_fields(await unchanged_member.api.public_key(), fields)
    answer = await unchanged_member.api.plain("GET", TARGET, headers={ROOT_HEADER: value})
    assert outcome(answer) is None


# What a CLUSTER AGENT with these passwords says to these credentials.
CREDENTIALS = [
    (Passwords("r", None), ROOT_HEADER, "r", None),
    (Passwords("r", None), ROOT_HEADER, "x", WRONG_ROOT),
    (Passwords("r", None), AGENT_HEADER, "r", NEEDS_ROOT),
    (Passwords("r", "a"), ROOT_HEADER, "r", None),
    (Passwords("r", "a"), ROOT_HEADER, "a", WRONG_ROOT),
    (Passwords("r", "a"), AGENT_HEADER, "a", None),
    (Passwords("r", "a"), AGENT_HEADER, "r", WRONG_AGENT),
    (Passwords("r", "a"), AGENT_HEADER, "", WRONG_AGENT),
    (Passwords(None, "a"), ROOT_HEADER, "a", NEEDS_AGENT),
    (Passwords(None, "a"), AGENT_HEADER, "a", None),
    (Passwords("", None), ROOT_HEADER, "", None),
    (Passwords("", None), ROOT_HEADER, "x", WRONG_ROOT),
    (Passwords("r", None), V1_HEADER, "r", None),
    (Passwords("r", None), V1_HEADER, "x", WRONG_ROOT),
]


@pytest.mark.parametrize(("passwords", "header", "offered", "expected"), CREDENTIALS)
async def test_a_member_of_a_cluster_wants_the_password_it_knows(
    unchanged_member, monkeypatch, passwords, header, offered, expected
):
    monkeypatch.setattr(unchanged_member.site.cluster, "passwords", passwords)
    answer = await unchanged_member.api.get(AGENTS, sealed_with=header, password=offered)
    assert outcome(answer) == expected


@pytest.mark.parametrize("header", [ROOT_HEADER, AGENT_HEADER, V1_HEADER])
async def test_an_agent_of_no_cluster_lets_anything_pass(start_host, header):
    host = await start_host()
    for password in ("", "anything"):
        answer = await host.api.get(AGENTS, sealed_with=header, password=password)
        assert outcome(answer) is None
    assert outcome(await host.api.get(AGENTS, sealed_with=header, ts=1)) is not None


async def test_an_agent_of_no_cluster_with_a_password_of_its_own_wants_that(start_host):
    host = await start_host(passwords=Passwords(agent="a"))
    for header, password, expected in [
        (AGENT_HEADER, "a", None),
        (AGENT_HEADER, "", WRONG_AGENT),
        (ROOT_HEADER, "a", NEEDS_AGENT),
    ]:
        answer = await host.api.get(AGENTS, sealed_with=header, password=password)
        assert outcome(answer) == expected
    assert (await host.api.plain("GET", "/api/v1/info")).data["security"] is True


async def test_a_password_changed_in_the_database_is_noticed_and_kept(start_member):
    host = await start_member()
    host.engine.password = "changed"
    assert outcome(await host.api.get(AGENTS, password="wrong")) == WRONG_ROOT
    assert outcome(await host.api.get(AGENTS, password="changed")) is None
    assert host.engine.used_password == "changed"
    tried = host.engine.logins
    assert outcome(await host.api.get(AGENTS, password="changed")) is None
    assert host.engine.logins == tried
    assert outcome(await host.api.get(AGENTS, password=ROOT_PASSWORD)) == WRONG_ROOT


async def test_while_the_database_is_down_the_password_that_is_known_counts(start_member):
    host = await start_member(running=False)
    assert outcome(await host.api.get(AGENTS)) is None
    assert outcome(await host.api.get(AGENTS, password="x")) == WRONG_ROOT


async def test_of_two_headers_the_agents_counts(start_member):
    host = await start_member(passwords=Passwords("r", "a"))
    _, root, _ = await host.api.seal(ROOT_HEADER, "r", TARGET, None, {})
    for password, beside, expected in [
        ("a", root, None),
        ("a", "garbage", None),
        ("x", root, WRONG_AGENT),
    ]:
        answer = await host.api.get(
            AGENTS, sealed_with=AGENT_HEADER, password=password, headers={ROOT_HEADER: beside}
        )
        assert outcome(answer) == expected


async def test_a_request_of_the_first_version_has_a_plain_body(start_member):
    host = await start_member(zones=("zone1",))
    answer = await host.api.post(
        "/ob/stop", FORCE_ALL, sealed_with=V1_HEADER, password=ROOT_PASSWORD
    )
    assert outcome(answer) is None
    for ts, expected in [("1", DECRYPT_FAILED), (1, EXPIRED), (None, DECRYPT_FAILED)]:
        answer = await host.api.get(AGENTS, sealed_with=V1_HEADER, ts=ts)
        assert outcome(answer) == expected


async def test_whoever_is_refused_leaves_nothing_behind(unchanged_member):
    for wrong in ({"auth": "wrong"}, {"ts": "1"}, {"uri": "/"}):
        answer = await unchanged_member.api.post("/ob/stop", None, **wrong)
        assert answer.status == 401
    answer = await unchanged_member.api.plain(
        "POST", "/api/v1/ob/stop", json.dumps(FORCE_ALL).encode()
    )
    assert answer.status == 400
    assert await unchanged_member.site.tasks.dags() == []


# --- bodies --------------------------------------------------------------------------------------


async def post_with(host, keys, body):
    """A stop with these AES keys in its header, and these bytes as its body."""
    key = await host.api.public_key()
    fields = {"auth": ROOT_PASSWORD, "ts": str(int(time.time()) + 60), "uri": "/api/v1/ob/stop"}
    if keys is not None:
        fields["keys"] = encoded(keys)
    headers = {ROOT_HEADER: sealed_fields(key, fields)}
    return await host.api.plain("POST", "/api/v1/ob/stop", body, headers)


def encrypted(plaintext: bytes, keys: bytes = AES_KEYS) -> bytes:
    """A body as clients encrypt it, with another implementation than the agent's."""
    cipher = AES.new(keys[:16], AES.MODE_CBC, keys[16:])
    return base64.b64encode(cipher.encrypt(pad(plaintext, 16)))


PLAIN = json.dumps({"scope": {"type": "NONE"}}).encode()


async def test_a_body_is_opened_with_the_keys_of_its_header(unchanged_member):
    answer = await post_with(unchanged_member, AES_KEYS, encrypted(PLAIN))
    assert outcome(answer) == ("OB.Cluster.Scope.Invalid", 400, None)


UNREADABLE = {
    "other keys": (AES_KEYS, encrypted(PLAIN, bytes(32)), BIND),
    "text within": (AES_KEYS, encrypted(b"no json"), BIND),
    "bytes within": (AES_KEYS, encrypted(b"\xff\xfe"), BIND),
    "a wrong padding": (AES_KEYS, base64.b64encode(bytes(32)), BIND),
    "plain": (AES_KEYS, PLAIN, LENGTH),
    "half a block": (AES_KEYS, base64.b64encode(bytes(17)), LENGTH),
    "no base64": (AES_KEYS, b"not base64!", LENGTH),
    "keys too short by one": (AES_KEYS[:31], encrypted(PLAIN), KEYS),
    "keys too short": (AES_KEYS[:8], encrypted(PLAIN), KEYS),
    "keys empty": (b"", encrypted(PLAIN), KEYS),
    "no keys": (None, encrypted(PLAIN), KEYS),
}


@pytest.mark.parametrize(
    ("aes_keys", "body", "expected"), UNREADABLE.values(), ids=UNREADABLE.keys()
)
async def test_a_body_that_cannot_be_opened_is_a_bad_request(
    unchanged_member, aes_keys, body, expected
):
    assert outcome(await post_with(unchanged_member, aes_keys, body)) == expected


async def test_nobody_can_tell_a_wrong_padding_from_a_body_that_is_no_json(unchanged_member):
    messages = {
        (await post_with(unchanged_member, AES_KEYS, body)).message
        for body in (base64.b64encode(bytes(32)), encrypted(b"no json"), encrypted(b"\xff"))
    }
    assert len(messages) == 1


async def test_a_request_without_a_body_needs_no_keys(unchanged_member):
    answer = await post_with(unchanged_member, None, b"")
    assert outcome(answer) == ("OB.Cluster.Scope.Invalid", 400, None)


async def test_a_get_may_have_an_encrypted_body(unchanged_member):
    answer = await unchanged_member.api.ask("GET", AGENTS, {"ignored": True})
    assert outcome(answer) is None


async def test_an_encrypted_body_may_be_followed_by_other_bytes(start_member):
    host = await start_member(zones=("zone1",))
    answer = await host.api.post("/ob/stop", json.dumps(FORCE_ALL).encode() + b"\x00{}")
    assert outcome(answer) is None


async def test_a_body_past_all_measure_is_refused(unchanged_member):
    answer = await unchanged_member.local.post("/ob/stop", b" " * (4 * 1024 * 1024 + 1))
    assert outcome(answer) == ("Common.BadRequest", 400, None)


@pytest.mark.parametrize("name", ["X-OCS-Header", "X-OCS-Agent-Header", "X-OCS-Auth"])
async def test_over_the_local_socket_no_header_is_looked_at(unchanged_member, name):
    headers = {name: "garbage"}
    answer = await unchanged_member.local.plain("GET", "/api/v1/ob/info", headers=headers)
    assert outcome(answer) is None


# --- what clients need before they can authenticate ----------------------------------------------


@pytest.mark.parametrize("identity", list(Identity))
async def test_what_an_agent_is_can_be_asked_by_anybody(start_member, identity):
    host = await start_member(identity)
    info = (await host.api.plain("GET", "/api/v1/info")).data
    assert info["identity"] == identity
    assert info["supportedAuth"] == ["v2"]
    assert info["security"] is False
    assert (info["ip"], info["port"]) == host.address
    secret = (await host.api.plain("GET", "/api/v1/secret")).data
    assert secret == {**host.address.wire, "public_key": host.key.public_text}


async def test_strangers_have_only_so_many_passwords_tried_at_the_server_at_once(
    member, monkeypatch
):
    gate, trying = Gate(), []

    async def login(_password: str) -> bool:
        trying.append(1)
        most.append(len(trying))
        await gate.pass_through()
        trying.pop()
        return False

    most = []
    monkeypatch.setattr(member.engine, "login", login)
    await member.api.public_key()
    async with asyncio.TaskGroup() as strangers:
        offers = [
            strangers.create_task(member.api.get(AGENTS, password=f"wrong {number}"))
            for number in range(FREE)
        ]
        await gate.reached()
        assert outcome(await member.api.get(AGENTS)) is None  # it is known, so none is asked
        gate.open()
    assert [outcome(one.result()) for one in offers] == [WRONG_ROOT] * FREE
    assert max(most) <= 8 < FREE


async def test_who_offers_many_wrong_passwords_has_to_wait_and_a_right_one_has_its_turn(member):
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    member.agent._door.logins._sleep = sleep
    for _ in range(FREE):
        assert outcome(await member.api.get(AGENTS, password="wrong")) == WRONG_ROOT
    assert slept == []
    assert outcome(await member.api.get(AGENTS)) is None
    assert len(slept) == 1
    assert 0 < slept[0] <= 1
    assert outcome(await member.local.get(AGENTS)) is None
    assert outcome(await member.api.get(AGENTS, ts="1", password="wrong")) == EXPIRED
    assert len(slept) == 1
