from __future__ import annotations

import asyncio
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyobshell import errors
from pyobshell.security.hybrid import RequestHeader
from pyobshell.security.verify import Credentials, Passwords, check_binding, verify

Kind = Literal["root", "agent", "v1"]
MEMBERS = ["CLUSTER AGENT", "TAKE OVER MASTER", "TAKE OVER FOLLOWER", "SCALING OUT", "SCALING IN"]
IN_A_CLUSTER = ["MASTER", *MEMBERS]


class Database:
    """Logs in who knows its password, and remembers who tried."""

    def __init__(self, password: str | None = None) -> None:
        self.password = password
        self.tried: list[str] = []

    async def try_login(self, offered: str) -> bool:
        self.tried.append(offered)
        return self.password is not None and offered == self.password


def refusal(
    identity: str,
    kind: Kind,
    offered: str,
    *,
    root: str | None = None,
    agent: str | None = None,
    database: Database | None = None,
) -> errors.ErrorCode | None:
    """The code with which the credentials are refused; None when they pass."""
    header = RequestHeader(auth=offered, ts="0", uri="/")
    door = database or Database()
    try:
        asyncio.run(
            verify(identity, Credentials(kind, header), Passwords(root, agent), door.try_login)
        )
    except errors.OBShellError as error:
        return error.code
    return None


@pytest.mark.parametrize("kind", ["root", "agent", "v1"])
@pytest.mark.parametrize("root", [None, "r"])
def test_a_single_agent_without_own_password_lets_anything_pass(
    kind: Kind, root: str | None
) -> None:
    assert refusal("SINGLE", kind, "whatever", root=root) is None


@pytest.mark.parametrize(
    "code",
    [
        errors.INCORRECT_AGENT_PASSWORD,
        errors.INCORRECT_OCEANBASE_PASSWORD,
        errors.WITH_AGENT_PASSWORD,
        errors.WITH_OCEANBASE_PASSWORD,
        errors.URI_MISMATCH,
        errors.TIMESTAMP_INVALID,
        errors.EXPIRED,
    ],
)
def test_every_refusal_makes_the_sdk_authenticate_anew(code: errors.ErrorCode) -> None:
    assert (code.status, code.number) == (401, 10008)


def test_a_single_agent_with_own_password_wants_it() -> None:
    assert refusal("SINGLE", "agent", "a", agent="a") is None
    assert refusal("SINGLE", "agent", "", agent="a") is errors.INCORRECT_AGENT_PASSWORD
    assert refusal("SINGLE", "root", "a", agent="a") is errors.WITH_AGENT_PASSWORD
    assert refusal("SINGLE", "v1", "a", agent="a") is errors.WITH_AGENT_PASSWORD


@pytest.mark.parametrize("kind", ["root", "v1"])
def test_a_master_guards_nothing_until_the_cluster_has_a_password(kind: Kind) -> None:
    assert refusal("MASTER", kind, "") is None
    assert refusal("MASTER", kind, "x") is None
    assert refusal("MASTER", kind, "", root="r") is errors.INCORRECT_OCEANBASE_PASSWORD
    assert refusal("MASTER", kind, "r", root="r") is None


def test_a_master_without_any_password_lets_the_agent_header_pass() -> None:
    assert refusal("MASTER", "agent", "whatever") is None


@pytest.mark.parametrize("identity", MEMBERS)
def test_a_member_that_knows_no_password_lets_nobody_pass_unchecked(identity: str) -> None:
    assert refusal(identity, "agent", "") is errors.WITH_OCEANBASE_PASSWORD
    assert refusal(identity, "root", "") is errors.INCORRECT_OCEANBASE_PASSWORD
    database = Database("r")
    assert refusal(identity, "root", "r", database=database) is None
    assert database.tried == ["r"]


@pytest.mark.parametrize("identity", IN_A_CLUSTER)
@pytest.mark.parametrize("kind", ["root", "v1"])
def test_the_remembered_root_password_passes_without_a_login(identity: str, kind: Kind) -> None:
    database = Database("another")
    assert refusal(identity, kind, "r", root="r", database=database) is None
    assert database.tried == []


@pytest.mark.parametrize("identity", IN_A_CLUSTER)
def test_a_root_password_changed_in_the_database_passes(identity: str) -> None:
    database = Database("new")
    assert refusal(identity, "root", "new", root="old", database=database) is None
    assert database.tried == ["new"]
    assert refusal(identity, "root", "x", root="old", database=database) is (
        errors.INCORRECT_OCEANBASE_PASSWORD
    )


@pytest.mark.parametrize("identity", IN_A_CLUSTER)
def test_the_agent_header_is_held_against_the_agent_password_only(identity: str) -> None:
    assert refusal(identity, "agent", "a", root="r", agent="a") is None
    assert refusal(identity, "agent", "r", root="r", agent="a") is errors.INCORRECT_AGENT_PASSWORD
    assert refusal(identity, "agent", "r", root="r") is errors.WITH_OCEANBASE_PASSWORD


@pytest.mark.parametrize("identity", IN_A_CLUSTER)
def test_without_a_root_password_an_agent_password_must_be_proved(identity: str) -> None:
    database = Database("r")
    for offered in ("", "a", "r"):
        assert refusal(identity, "root", offered, agent="a", database=database) is (
            errors.WITH_AGENT_PASSWORD
        )
    assert database.tried == []
    assert refusal(identity, "agent", "a", agent="a") is None


def test_a_follower_is_never_asked() -> None:
    with pytest.raises(ValueError, match="forwarded"):
        refusal("FOLLOWER", "root", "")


def test_what_goes_wrong_in_the_login_is_not_taken_for_an_answer() -> None:
    async def broken(offered: str) -> bool:
        raise TimeoutError

    credentials = Credentials("root", RequestHeader("x", "0", "/"))
    with pytest.raises(TimeoutError):
        asyncio.run(verify("CLUSTER AGENT", credentials, Passwords("r", None), broken))


@settings(deadline=None)
@given(one=st.text(), other=st.text())
def test_only_equal_passwords_pass(one: str, other: str) -> None:
    assert refusal("CLUSTER AGENT", "root", one, root=one) is None
    assert (refusal("CLUSTER AGENT", "root", one, root=other) is None) == (one == other)
    assert (refusal("CLUSTER AGENT", "agent", one, agent=other) is None) == (one == other)


def test_a_password_from_the_environment_with_odd_bytes_can_be_compared() -> None:
    assert refusal("MASTER", "root", "x", root="\udcff") is errors.INCORRECT_OCEANBASE_PASSWORD


def test_passwords_are_not_shown() -> None:
    credentials = Credentials("root", RequestHeader("offered", "0", "/"))
    assert repr(Passwords("r", "a")) == "Passwords()"
    assert "offered" not in repr(credentials)


LONGEST_S = 900
TOO_LONG = errors.TIMESTAMP_INVALID


def binding(header: RequestHeader, target: str, now: float) -> errors.ErrorCode | None:
    try:
        check_binding(header, target, now, LONGEST_S)
    except errors.OBShellError as error:
        return error.code
    return None


@settings(deadline=None)
@given(uri=st.text(), target=st.text())
def test_a_header_is_good_for_its_own_target_only(uri: str, target: str) -> None:
    header = RequestHeader("", "100", uri)
    meant = uri.removesuffix("?")  # which means nothing
    assert binding(header, meant, 0) is None
    assert (binding(header, target, 0) is errors.URI_MISMATCH) == (meant != target)


def test_the_query_and_its_encoding_belong_to_the_target() -> None:
    header = RequestHeader("", "100", "/a?b=%20")
    assert binding(header, "/a?b=%20", 0) is None
    for target in ("/a", "/a?b=+", "/a?b= ", "/a?b=%20&"):
        assert binding(header, target, 0) is errors.URI_MISMATCH


def test_only_a_header_of_v1_is_bound_to_no_target() -> None:
    assert binding(RequestHeader("", "100", "", bound=False), "/any", 0) is None
    assert binding(RequestHeader("", "100", ""), "/any", 0) is errors.URI_MISMATCH


@pytest.mark.parametrize("ts", ["", "x", "-1", "+1", "1.5", " 1", "1\n", "٣", "1e9", "9" * 20])
def test_an_expiry_that_is_no_number_is_refused(ts: str) -> None:
    for password in ("", "p"):
        assert binding(RequestHeader(password, ts, "/"), "/", 0) is errors.TIMESTAMP_INVALID


@pytest.mark.parametrize(
    ("now", "code"), [(0, None), (100, None), (100.9, None), (101, errors.EXPIRED)]
)
def test_a_header_is_good_until_the_end_of_its_last_second(
    now: float, code: errors.ErrorCode | None
) -> None:
    for password in ("", "p"):
        assert binding(RequestHeader(password, "100", "/"), "/", now) is code


def test_a_header_is_not_good_for_longer_than_is_allowed() -> None:
    now = 2e9
    for ts, code in ((now, None), (now + LONGEST_S, None), (now + LONGEST_S + 1, TOO_LONG)):
        assert binding(RequestHeader("p", str(int(ts)), "/"), "/", now) is code
    assert binding(RequestHeader("", "9" * 19, "/"), "/", now) is TOO_LONG


def test_it_is_told_when_a_header_expires() -> None:
    assert check_binding(RequestHeader("", "0100", "/"), "/", 40, LONGEST_S) == 100
