"""The address of an agent is read from many forms and written in one."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyobshell import errors
from pyobshell.address import DEFAULT_AGENT_PORT, Address

READ = {
    "10.0.0.1:2886": ("10.0.0.1", 2886),
    "10.0.0.1": ("10.0.0.1", DEFAULT_AGENT_PORT),
    "10.0.0.1:1025": ("10.0.0.1", 1025),
    "10.0.0.1:65535": ("10.0.0.1", 65535),
    "10.0.0.1:02886": ("10.0.0.1", 2886),
    "[::1]:2886": ("::1", 2886),
    "[::1]": ("::1", DEFAULT_AGENT_PORT),
    "::1": ("::1", DEFAULT_AGENT_PORT),
    "2001:DB8:0:0::0010": ("2001:db8::10", DEFAULT_AGENT_PORT),
    "[2001:DB8:0::10]:3000": ("2001:db8::10", 3000),
}
REFUSED = {
    "": errors.INVALID_ADDRESS,
    ":2886": errors.INVALID_ADDRESS,
    "[]:2886": errors.INVALID_ADDRESS,
    "[::1": errors.INVALID_ADDRESS,
    "[::1]2886": errors.INVALID_ADDRESS,
    "[::1]x:2886": errors.INVALID_ADDRESS,
    "localhost": errors.INVALID_IP,
    "localhost:2886": errors.INVALID_IP,
    "10.0.0:2886": errors.INVALID_IP,
    "10.0.0.256:2886": errors.INVALID_IP,
    "010.0.0.1:2886": errors.INVALID_IP,
    " 10.0.0.1:2886": errors.INVALID_IP,
    "[::g]:2886": errors.INVALID_IP,
    "1:2:3": errors.INVALID_IP,
    "http://10.0.0.1:2886": errors.INVALID_IP,
    "fe80::1%eth0": errors.INVALID_IP,
    "10.0.0.1:": errors.INVALID_PORT,
    "[::1]:": errors.INVALID_PORT,
    "10.0.0.1:0": errors.INVALID_PORT,
    "10.0.0.1:1024": errors.INVALID_PORT,
    "10.0.0.1:65536": errors.INVALID_PORT,
    "10.0.0.1:-2886": errors.INVALID_PORT,
    "10.0.0.1: 2886": errors.INVALID_PORT,
    "10.0.0.1:2886 ": errors.INVALID_PORT,
    "10.0.0.1:http": errors.INVALID_PORT,
    "10.0.0.1:٢٨٨٦": errors.INVALID_PORT,
    "10.0.0.1:2²": errors.INVALID_PORT,
    "[::1]:2886:1": errors.INVALID_PORT,
    "10.0.0.1:" + "9" * 5000: errors.INVALID_PORT,
}


@pytest.mark.parametrize(("text", "parts"), READ.items(), ids=READ.keys())
def test_an_address_is_read_in_each_of_its_forms(text, parts):
    assert Address.parse(text) == parts


@pytest.mark.parametrize(
    ("text", "code"), REFUSED.items(), ids=[text[:24] or "nothing" for text in REFUSED]
)
def test_what_is_no_address_is_refused_with_the_part_that_is_wrong(text, code):
    with pytest.raises(errors.OBShellError) as caught:
        Address.parse(text)
    assert caught.value.code is code
    assert str(caught.value.arguments["text"]) in text


@pytest.mark.parametrize(
    ("ip", "port", "code"),
    [
        ("host", 2886, errors.INVALID_IP),
        ("", 2886, errors.INVALID_IP),
        ("[::1]", 2886, errors.INVALID_IP),
        ("10.0.0.1", 1024, errors.INVALID_PORT),
        ("10.0.0.1", 65536, errors.INVALID_PORT),
        ("10.0.0.1", -1, errors.INVALID_PORT),
    ],
)
def test_an_address_of_two_parts_is_checked_too(ip, port, code):
    with pytest.raises(errors.OBShellError) as caught:
        Address.of(ip, port)
    assert caught.value.code is code


@given(st.ip_addresses().filter(lambda ip: not getattr(ip, "scope_id", None)),
       st.integers(1025, 65535))  # fmt: skip
def test_what_an_address_prints_is_read_as_the_same_address(ip, port):
    address = Address.of(str(ip), port)
    assert Address.parse(str(address)) == address
    assert address.wire == {"ip": str(ip), "port": port}
    assert ipaddress.ip_address(address.ip) == ip


@given(st.text())
def test_any_text_is_an_address_or_refused_with_a_code(text):
    try:
        address = Address.parse(text)
    except errors.OBShellError as error:
        refused = error
    else:
        assert Address.parse(str(address)) == address
        return
    assert refused.code.status == 400
