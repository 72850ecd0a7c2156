from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from Crypto.Cipher import AES, PKCS1_v1_5
from Crypto.PublicKey import RSA
from Crypto.Random import get_random_bytes
from Crypto.Util.Padding import pad, unpad
from hypothesis import given, settings
from hypothesis import strategies as st

from pyobshell import errors
from pyobshell.security import hybrid
from pyobshell.security.hybrid import (
    MAX_HEADER_CHARS,
    UNREADABLE_BODY,
    RequestHeader,
    decrypt_password,
    open_body,
    open_header_v1,
    open_header_v2,
    seal_request,
)
from pyobshell.security.keys import PrivateKey

KEYS = bytes(range(32))
texts = st.text(max_size=80)
Opener = Callable[[PrivateKey, str], RequestHeader]


def sealed(key: PrivateKey, content: object) -> str:
    plaintext = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.b64encode(key.public.encrypt_sections(plaintext)).decode()


def v2(**changes: object) -> dict[str, object]:
    return {"auth": "a", "ts": "1", "uri": "/", "keys": None} | changes


@pytest.mark.parametrize("name", ["auth", "ts", "uri", "keys", "more", "Uri"])
def test_a_header_in_which_a_key_comes_twice_is_refused(own_key: PrivateKey, name: str) -> None:
    content = json.dumps(v2(more=1))
    twice = content[:-1] + f', "{name}": "1"' + "}"
    assert open_header_v2(own_key, sealed(own_key, content.encode())).uri == "/"
    with pytest.raises(errors.OBShellError) as refused:
        open_header_v2(own_key, sealed(own_key, twice.encode()))
    assert refused.value.code is errors.HEADER_DECRYPT_FAILED


def sdk_v2(public_text: str, password: str | None, uri: str, body: bytes) -> tuple[str, bytes]:
    """The header and body that the official SDK's V2 sends, made by its library in its steps."""
    keys = get_random_bytes(32)
    data = b""
    if body:
        data = base64.b64encode(
            AES.new(keys[:16], AES.MODE_CBC, keys[16:]).encrypt(pad(body, AES.block_size))
        )
    fields = {
        "auth": "" if password is None else password,
        "ts": str(int(time.time()) + 60),
        "uri": uri,
        "keys": base64.b64encode(keys).decode(),
    }
    plaintext = json.dumps(fields).encode()
    cipher = PKCS1_v1_5.new(RSA.import_key(base64.b64decode(public_text)))
    chunks = (cipher.encrypt(plaintext[at : at + 53]) for at in range(0, len(plaintext), 53))
    return base64.b64encode(b"".join(chunks)).decode(), data


def sdk_v1(public_text: str, password: str, expiry: int) -> str:
    """The header that the official SDK's V1 sends."""
    cipher = PKCS1_v1_5.new(RSA.import_key(base64.b64decode(public_text)))
    plaintext = json.dumps({"password": password, "ts": expiry}).encode()
    return base64.b64encode(cipher.encrypt(plaintext)).decode()


@settings(deadline=None)
@given(password=texts | st.none(), uri=texts, body=st.binary(max_size=300))
def test_what_the_sdk_seals_we_open(
    own_key: PrivateKey, password: str | None, uri: str, body: bytes
) -> None:
    header_value, data = sdk_v2(own_key.public_text, password, uri, body)
    header = open_header_v2(own_key, header_value)
    assert (header.auth, header.uri, header.bound) == (password or "", uri, True)
    assert int(header.ts) > time.time()
    assert open_body(header.keys, data) == body


@settings(deadline=None)
@given(password=st.text(max_size=15), expiry=st.integers(0, 2**40))
def test_what_the_sdk_seals_for_4_2_2_we_open(
    own_key: PrivateKey, password: str, expiry: int
) -> None:
    header = open_header_v1(own_key, sdk_v1(own_key.public_text, password, expiry))
    assert header == RequestHeader(auth=password, ts=str(expiry), uri="", bound=False)


def test_golden_ciphertexts_open(own_key: PrivateKey, golden: dict[str, Any]) -> None:
    password, uri, ts = golden["password"], golden["uri"], golden["ts"]
    keys = bytes.fromhex(golden["keys"])
    assert open_header_v2(own_key, golden["sdk_header"]) == RequestHeader(password, ts, uri, keys)
    assert open_header_v2(own_key, golden["agent_header"]) == RequestHeader(password, ts, uri, None)
    assert open_header_v1(own_key, golden["v1_header"]) == RequestHeader(
        password, ts, "", bound=False
    )
    assert open_body(keys, golden["sealed_body"].encode()).decode() == golden["body"]
    assert decrypt_password(own_key, golden["sealed_root_password"]) == password


@settings(deadline=None)
@given(password=texts, uri=texts, body=st.binary(max_size=300), now=st.integers(0, 2**33))
def test_what_we_seal_we_open(
    own_key: PrivateKey, password: str, uri: str, body: bytes, now: int
) -> None:
    request = seal_request(
        own_key.public, password=password, uri=uri, body=body, lifetime_s=10.7, now=now
    )
    header = open_header_v2(own_key, request.header_value)
    assert (header.auth, header.uri, header.ts) == (password, uri, str(now + 10))
    assert header.keys is not None
    assert len(header.keys) == 32
    assert (request.body is None) == (not body)
    assert open_body(header.keys, request.body or b"") == body


def test_what_we_seal_has_the_form_the_sdk_gives_it(
    own_key: PrivateKey, golden: dict[str, Any]
) -> None:
    request = seal_request(own_key.public, password="p", uri="/x?y=1", body=b"{}", now=1000)
    cipher = PKCS1_v1_5.new(RSA.import_key(golden["private_pem"]))
    fields = json.loads(cipher.decrypt(base64.b64decode(request.header_value), b""))
    assert list(fields) == ["auth", "ts", "uri", "keys"]
    assert (fields["auth"], fields["ts"], fields["uri"]) == ("p", "1060", "/x?y=1")
    keys = base64.b64decode(fields["keys"])
    aes = AES.new(keys[:16], AES.MODE_CBC, keys[16:])
    assert request.body is not None
    assert unpad(aes.decrypt(base64.b64decode(request.body)), 16) == b"{}"


def test_no_two_requests_share_their_keys(own_key: PrivateKey) -> None:
    def keys() -> bytes | None:
        request = seal_request(own_key.public, password="", uri="/", body=None, now=0)
        return open_header_v2(own_key, request.header_value).keys

    assert keys() != keys()


def test_header_fields_match_whatever_their_case(own_key: PrivateKey) -> None:
    content = {"AUTH": "p", "Ts": "5", "uRI": "/", "KEYS": base64.b64encode(KEYS).decode()}
    assert open_header_v2(own_key, sealed(own_key, content)) == RequestHeader("p", "5", "/", KEYS)


@pytest.mark.parametrize("content", [{}, dict.fromkeys(("auth", "ts", "uri", "keys"))])
def test_absent_and_null_fields_are_empty(own_key: PrivateKey, content: object) -> None:
    assert open_header_v2(own_key, sealed(own_key, content)) == RequestHeader("", "", "", None)


@pytest.mark.parametrize(
    "content",
    [
        v2(ts=1893456000),
        v2(auth=1),
        v2(uri=["/"]),
        v2(keys=5),
        v2(keys="not base64!"),
        v2(auth="\ud800"),
        v2(uri="\udfff"),
        [],
        "text",
        None,
        b"",
        b"not JSON",
        b'{"auth": "p"',
        b'{"auth": "\xff"}',
        b'{"ts": ' + b"9" * 5000 + b"}",
        b"[" * 9000,
    ],
    ids=lambda content: str(content)[:40],
)
def test_a_header_with_another_content_is_refused(own_key: PrivateKey, content: object) -> None:
    with pytest.raises(errors.OBShellError) as refusal:
        open_header_v2(own_key, sealed(own_key, content))
    assert refusal.value.code is errors.HEADER_DECRYPT_FAILED


@pytest.mark.parametrize(
    "content",
    [
        {"password": "p", "ts": "5"},
        {"password": "p", "ts": True},
        {"password": "p", "ts": 1.5},
        {"password": "p"},
        {"password": 5, "ts": 5},
        {"password": "\ud800", "ts": 5},
        [],
        b"[" * 9000,
    ],
    ids=lambda content: str(content)[:40],
)
def test_a_v1_header_with_another_content_is_refused(own_key: PrivateKey, content: object) -> None:
    with pytest.raises(errors.OBShellError) as refusal:
        open_header_v1(own_key, sealed(own_key, content))
    assert refusal.value.code is errors.HEADER_DECRYPT_FAILED


@pytest.mark.parametrize("open_header", [open_header_v1, open_header_v2])
@pytest.mark.parametrize("value", ["", "é", "not base64!", "AAAA", "A" * 344, "/" * 342 + "=="])
def test_a_header_that_is_no_ciphertext_is_refused(
    own_key: PrivateKey, open_header: Opener, value: str
) -> None:
    with pytest.raises(errors.OBShellError) as refusal:
        open_header(own_key, value)
    assert refusal.value.code is errors.HEADER_DECRYPT_FAILED


def test_a_header_for_another_agent_makes_the_client_fetch_the_key_anew(
    own_key: PrivateKey, other_key: PrivateKey
) -> None:
    with pytest.raises(errors.OBShellError) as refusal:
        open_header_v2(own_key, sealed(other_key, v2()))
    assert refusal.value.code.number == 1


def test_a_header_value_may_be_long_but_not_endless(own_key: PrivateKey) -> None:
    longest = sealed(own_key, v2(uri="/" + "u" * 11_500))
    assert len(longest) <= MAX_HEADER_CHARS
    assert len(open_header_v2(own_key, longest).uri) == 11_501
    for open_header in (open_header_v1, open_header_v2):
        with pytest.raises(errors.OBShellError) as refusal:
            open_header(own_key, sealed(own_key, v2(uri="/" + "u" * 13_000)))
        assert refusal.value.code is errors.HEADER_DECRYPT_FAILED


@settings(deadline=None)
@given(at=st.integers(0, 511), flip=st.integers(1, 255))
def test_a_damaged_header_never_yields_the_password(
    own_key: PrivateKey, at: int, flip: int
) -> None:
    plaintext = json.dumps(v2(auth="the password", uri="/" + "u" * 300)).encode()
    ciphertext = bytearray(own_key.public.encrypt_sections(plaintext))
    ciphertext[at] ^= flip
    with pytest.raises(errors.OBShellError) as refusal:
        open_header_v2(own_key, base64.b64encode(ciphertext).decode())
    assert refusal.value.code is errors.HEADER_DECRYPT_FAILED


def test_neither_password_nor_keys_are_shown(own_key: PrivateKey) -> None:
    header = RequestHeader("the password", "5", "/", b"the keys")
    assert repr(header) == "RequestHeader(ts='5', uri='/', bound=True)"


def aes_text(plaintext: bytes, keys: bytes = KEYS) -> bytes:
    return base64.b64encode(AES.new(keys[:16], AES.MODE_CBC, keys[16:]).encrypt(plaintext))


@pytest.mark.parametrize("keys", [None, b"", KEYS[:16], KEYS[:31], KEYS + b"x"])
def test_a_body_needs_a_key_and_an_iv(keys: bytes | None) -> None:
    with pytest.raises(errors.OBShellError) as refusal:
        open_body(keys, aes_text(pad(b"{}", 16)))
    assert refusal.value.code is errors.BODY_KEYS_INVALID


@pytest.mark.parametrize("keys", [None, KEYS])
def test_no_body_is_no_body_with_and_without_keys(keys: bytes | None) -> None:
    assert open_body(keys, b"") == b""


@pytest.mark.parametrize(
    "body",
    [b"{}", b"\n", b"====", b"QQ==", "é".encode(), aes_text(pad(b"{}", 16))[:-1], b"A" * 20],
)
def test_a_body_that_is_not_whole_blocks_is_refused(body: bytes) -> None:
    with pytest.raises(errors.OBShellError) as refusal:
        open_body(KEYS, body)
    assert refusal.value.code is errors.BODY_LENGTH_INVALID


def test_a_body_in_several_lines_is_read() -> None:
    lines = base64.encodebytes(base64.b64decode(aes_text(pad(b"x" * 200, 16))))
    assert lines.count(b"\n") > 1
    assert open_body(KEYS, lines.replace(b"\n", b"\r\n")) == b"x" * 200


@pytest.mark.parametrize(
    "padded", [b"x" * 16, b"x" * 15 + b"\0", b"x" * 15 + b"\x11", b"x" * 14 + b"\x01\x02"]
)
def test_a_wrong_padding_reads_like_a_body_that_is_not_json(padded: bytes) -> None:
    with pytest.raises(errors.OBShellError) as refusal:
        open_body(KEYS, aes_text(padded))
    assert refusal.value.code is errors.BIND_JSON_FAILED
    assert str(refusal.value) == str(errors.BIND_JSON_FAILED(cause=UNREADABLE_BODY))
    assert refusal.value.__suppress_context__


@settings(deadline=None)
@given(body=st.binary(min_size=1, max_size=100), bit=st.integers(0, 127))
def test_a_body_under_another_key_never_yields_the_plaintext(body: bytes, bit: int) -> None:
    keys = bytearray(KEYS)
    keys[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(errors.OBShellError):
        assert open_body(bytes(keys), aes_text(pad(body, 16))) != body


@settings(deadline=None)
@given(password=texts.filter(bool), chunk=st.sampled_from([53, 245]))
def test_a_root_password_of_an_old_client_is_decrypted(
    own_key: PrivateKey, password: str, chunk: int
) -> None:
    text = base64.b64encode(own_key.public.encrypt_sections(password.encode(), chunk)).decode()
    assert decrypt_password(own_key, text) == password


@pytest.mark.parametrize(
    "text", ["", "plain", "A" * 171, "A" * 172, "p" * 345, "é" * 344, "密码" * 100]
)
def test_a_plain_root_password_stays_as_it_is(own_key: PrivateKey, text: str) -> None:
    assert decrypt_password(own_key, text) == text


def test_an_encrypted_nothing_never_becomes_an_empty_root_password(
    own_key: PrivateKey, golden: dict[str, Any]
) -> None:
    assert decrypt_password(own_key, golden["sealed_nothing"]) == golden["sealed_nothing"]


def test_a_time_that_comes_before_the_password_does_not_bind_it() -> None:
    """What a stranger sets before such a piece can make another word of it."""
    assert list(hybrid._timeless([b'{"uri":"x",', b'"ts":"12","auth":"apw"}'])) == [True, True]
    assert list(hybrid._timeless([b'{"auth":"apw","ts":"12",', b'"uri":"x"}'])) == [False, False]
