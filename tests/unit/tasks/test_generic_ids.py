"""A generic id says where a task is; the digits are OBShell's."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.tasks.ids import GenericId

GOLDEN = [
    ("127.0.0.1", 2886, 9, "22130706433028869"),
    ("10.10.10.1", 2886, 11, "201684300810288611"),
    ("192.168.1.20", 12886, 1234, "23232235796128861234"),
    ("::1", 2886, 9, "3000000000000000000000000000000000000001028869"),
    ("fe80::1", 2886, 7, "3338288524927261089654018896841347694593028867"),
    ("2001:db8::10", 2886, 42, "30425407664112825928569039849516538265760288642"),
    ("0.0.0.1", 1025, 1, "20000000001010251"),
    ("255.255.255.255", 65535, 2**63 - 1, "24294967295655359223372036854775807"),
    ("::", 1025, 10, "30000000000000000000000000000000000000000102510"),
]
ips = st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(lambda ip: ip.scope_id is None)
numbers = st.integers(1, 2**63 - 1)
ports = st.integers(1, 65535)


@pytest.mark.parametrize(("ip", "port", "number", "text"), GOLDEN)
def test_ids_of_an_agent_are_written_and_read_as_obshell_does(ip, port, number, text):
    found = GenericId(number, Address(ip, port))
    assert str(found) == text
    assert GenericId.parse(text) == found


def test_ids_of_the_cluster_and_of_an_obproxy_have_prefixes_of_their_own():
    assert str(GenericId(1)) == "11"
    assert GenericId.parse("11") == GenericId(1)
    local = Address("127.0.0.1", 2886)
    assert str(GenericId(9, local, obproxy=True)) == "42130706433028869"
    assert GenericId.parse("42130706433028869") == GenericId(9, local, obproxy=True)
    text = str(GenericId(9, Address("::1", 2886), obproxy=True))
    assert text == "5000000000000000000000000000000000000001028869"
    assert GenericId.parse(text) == GenericId(9, Address("::1", 2886), obproxy=True)


@given(ips, ports, numbers, st.booleans())
def test_every_agent_port_and_number_comes_back_from_its_id(ip, port, number, obproxy):
    known = GenericId(number, Address(str(ip), port), obproxy)
    text = str(known)
    assert text.isdigit()
    assert len(text) > (16 if ip.version == 4 else 45)
    assert GenericId.parse(text) == known


@given(ips, ports, numbers, ips, ports, numbers)
def test_two_tasks_never_have_the_same_id(ip, port, number, other_ip, other_port, other_number):
    one, other = (ip, port, number), (other_ip, other_port, other_number)
    same = str(GenericId(number, Address(str(ip), port))) == str(
        GenericId(other_number, Address(str(other_ip), other_port))
    )
    assert same == (one == other)


INVALID = {
    "nothing": "",
    "a letter": "2213070643302886x",
    "a sign": "-1",
    "a space": " 11",
    "a line break": "11\n",
    "other digits than ASCII's": "١١",
    "a superscript": "1²",
    "no such store, 0": "02130706433028869",
    "no such store, 6": "62130706433028869",
    "no such store, 9": "92130706433028869",
    "a store alone": "1",
    "an agent without a number": "2213070643302886",
    "an agent of IPv6 without a number": "300000000000000000000000000000000000000102886",
    "half an address": "22130706",
    "an address past IPv4": "24294967296028869",
    "an address past IPv6": "3" + str(2**128) + "028869",
    "port 0": "22130706433000009",
    "a port past the last": "22130706433655369",
    "number 0": "22130706433028860",
    "a number with a leading zero": "221307064330288609",
    "a cluster number with a leading zero": "101",
    "a number past 63 bits": "2213070643302886" + str(2**63),
    "more digits than any id has": "1" * 129,
    "more digits than Python converts": "1" * 5000,
}


@pytest.mark.parametrize("text", INVALID.values(), ids=INVALID.keys())
def test_what_is_no_id_is_refused(text):
    with pytest.raises(errors.OBShellError) as caught:
        GenericId.parse(text)
    assert caught.value.code is errors.TASK_GENERIC_ID_INVALID
    assert len(str(caught.value)) < 200


@given(st.text() | st.text("0123456789²٣", min_size=1, max_size=60))
@example("20000000000010251")
def test_any_text_is_an_id_written_in_its_one_form_or_refused(text):
    try:
        found = GenericId.parse(text)
    except errors.OBShellError as error:
        refused = error
    else:
        assert str(found) == text
        assert found.agent is None or ipaddress.ip_address(found.agent.ip)
        return
    assert refused.code is errors.TASK_GENERIC_ID_INVALID
