from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.security.frames import WINDOW
from pyobshell.security.keys import PrivateKey, PublicKey
from pyobshell.security.peer import Hello, PeerSession, accept_hello, make_hello

CALLER, PEER = Address("10.0.0.1", 2886), Address("fe80::1", 2887)
NOW = 1_800_000_000.5
AAD = b"POST /rpc/v1/x"


@pytest.fixture
def hello(own_key: PrivateKey, other_key: PrivateKey) -> Hello:
    return make_hello(CALLER, own_key, PEER, other_key.public, NOW)[1]


def both_sides(own_key: PrivateKey, other_key: PrivateKey) -> tuple[PeerSession, PeerSession]:
    pending, hello = make_hello(CALLER, own_key, PEER, other_key.public, NOW)
    accepted, *_ = accept_hello(PEER, other_key, hello, NOW)
    return pending.confirm(accepted.id), accepted


def refused(call: Any, *arguments: Any) -> str:
    with pytest.raises(errors.OBShellError) as refusal:
        call(*arguments)
    assert refusal.value.code is errors.INCORRECT_TOKEN
    return str(refusal.value.arguments["cause"])


def forged(signer: PrivateKey, peer: PublicKey, plaintext: bytes) -> Hello:
    """A hello whose content is whatever a caller with a key of its own may write."""
    wrapping_key, nonce = bytes(32), bytes(12)
    key = signer.public_text
    sealed = nonce + AESGCM(wrapping_key).encrypt(nonce, plaintext, key.encode())
    hello = {
        "key": key,
        "wrapped": base64.b64encode(peer.encrypt_oaep(wrapping_key)).decode(),
        "sealed": base64.b64encode(sealed).decode(),
    }
    return signed(signer, hello)


def signed(signer: PrivateKey, hello: Hello) -> Hello:
    text = f"pyobshell hello 1\n{hello['key']}\n{hello['wrapped']}\n{hello['sealed']}"
    return hello | {"signature": base64.b64encode(signer.sign(text.encode())).decode()}


def content(**changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "id": "0" * 32,
        "key": "0" * 64,
        "from": str(CALLER),
        "to": str(PEER),
        "ts": str(int(NOW)),
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def test_a_hello_tells_who_calls_and_opens_a_session(
    own_key: PrivateKey, other_key: PrivateKey
) -> None:
    pending, hello = make_hello(CALLER, own_key, PEER, other_key.public, NOW)
    hello = json.loads(json.dumps(hello))
    accepted, caller, claimed, _ = accept_hello(PEER, other_key, hello, NOW)
    session = pending.confirm(accepted.id)
    assert (caller, claimed) == (CALLER, own_key.public)
    assert session.id == accepted.id
    assert accepted.open(session.seal(b"question", AAD), AAD) == b"question"
    assert session.open(accepted.seal(b"answer", AAD), AAD) == b"answer"


def test_a_hello_shows_nothing_of_its_content(hello: Hello) -> None:
    seen = "".join(hello.values()) + str([base64.b64decode(value) for value in hello.values()])
    assert str(CALLER) not in seen
    assert str(PEER) not in seen


def test_a_session_never_shows_its_key(own_key: PrivateKey, other_key: PrivateKey) -> None:
    pending, _ = make_hello(CALLER, own_key, PEER, other_key.public, NOW)
    assert repr(pending) == f"PendingSession(half_id='{pending.half_id}')"
    assert "key" not in repr(both_sides(own_key, other_key)[0])


def test_a_hello_is_for_one_agent_only(
    own_key: PrivateKey, other_key: PrivateKey, hello: Hello
) -> None:
    elsewhere = Address("10.0.0.3", 2886)
    assert refused(accept_hello, elsewhere, other_key, hello, NOW) == (
        "its hello is not for 10.0.0.3:2886"
    )
    assert refused(accept_hello, PEER, own_key, hello, NOW) == "its hello cannot be read"


@pytest.mark.parametrize(("seconds", "good"), [(-61, False), (-60, True), (60, True), (61, False)])
def test_a_hello_is_good_for_a_minute(
    other_key: PrivateKey, hello: Hello, seconds: int, good: bool
) -> None:
    now = int(NOW) + seconds
    if good:
        accept_hello(PEER, other_key, hello, now)
    else:
        assert "60 s old" in refused(accept_hello, PEER, other_key, hello, now)
    assert "0.1 s old" in refused(accept_hello, PEER, other_key, hello, NOW, 0.1)


@settings(deadline=None)
@given(data=st.data())
def test_an_altered_hello_is_refused(
    own_key: PrivateKey, other_key: PrivateKey, data: st.DataObject
) -> None:
    _, hello = make_hello(CALLER, own_key, PEER, other_key.public, NOW)
    name = data.draw(st.sampled_from(sorted(hello)))
    raw = bytearray(base64.b64decode(hello[name]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    refused(accept_hello, PEER, other_key, hello | {name: base64.b64encode(raw).decode()}, NOW)


@pytest.mark.parametrize("name", ["key", "wrapped", "sealed", "signature"])
@pytest.mark.parametrize("value", [None, 5, "", "not base64!", "\ud800", "é", "A" * 5000, "AAAA"])
def test_a_hello_without_its_four_texts_is_refused(
    other_key: PrivateKey, hello: Hello, name: str, value: object
) -> None:
    refused(accept_hello, PEER, other_key, {**hello, name: value}, NOW)
    refused(accept_hello, PEER, other_key, {}, NOW)


def test_nobody_can_pass_off_the_hello_of_another_as_its_own(
    other_key: PrivateKey, hello: Hello
) -> None:
    thief = PrivateKey.generate()
    stolen = signed(thief, hello | {"key": thief.public_text})
    assert refused(accept_hello, PEER, other_key, stolen, NOW) == "its hello cannot be read"


def test_a_hello_under_a_foreign_signature_is_refused(other_key: PrivateKey, hello: Hello) -> None:
    again = signed(other_key, hello)
    assert "signature" in refused(accept_hello, PEER, other_key, again, NOW)


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"not JSON",
        b"[]",
        b"[" * 2500,
        b"\xff",
        *(
            json.dumps(content(**changes)).encode()
            for changes in list[dict[str, object]](
                [
                    {"id": None},
                    {"id": "0" * 31},
                    {"id": "x" * 32},
                    {"key": None},
                    {"key": "0" * 62},
                    {"key": " " * 64},
                    {"from": None},
                    {"from": "nobody"},
                    {"from": "10.0.0.1:1"},
                    {"to": None},
                    {"ts": None},
                    {"ts": 1_800_000_000},
                    {"ts": "-1"},
                    {"ts": "9" * 30},
                    {"more": {}},
                ]
            )
        ),
    ],
    ids=lambda plaintext: plaintext[:30].decode("latin-1"),
)
def test_a_hello_with_another_content_is_refused(
    own_key: PrivateKey, other_key: PrivateKey, plaintext: bytes
) -> None:
    accept_hello(
        PEER, other_key, forged(own_key, other_key.public, json.dumps(content()).encode()), NOW
    )
    refused(accept_hello, PEER, other_key, forged(own_key, other_key.public, plaintext), NOW)


def test_a_recorded_conversation_sent_again_is_not_understood(
    own_key: PrivateKey, other_key: PrivateKey
) -> None:
    pending, hello = make_hello(CALLER, own_key, PEER, other_key.public, NOW)
    accepted, *_ = accept_hello(PEER, other_key, hello, NOW)
    recorded = pending.confirm(accepted.id).seal(b"stop the server", AAD)
    assert accepted.open(recorded, AAD) == b"stop the server"
    again, *_ = accept_hello(PEER, other_key, hello, NOW)
    assert again.id != accepted.id
    assert refused(again.open, recorded, AAD) == "the frame is not genuine"


@pytest.mark.parametrize("answer", ["", "x", "{other}.{half}", "{own}", "{own}.", "{own}.{half}x"])
def test_an_answer_that_is_not_of_this_session_is_refused(
    own_key: PrivateKey, other_key: PrivateKey, answer: str
) -> None:
    pending, _ = make_hello(CALLER, own_key, PEER, other_key.public, NOW)
    text = answer.format(own=pending.half_id, other="1" * 32, half="2" * 32)
    assert "another session" in refused(pending.confirm, text)


@pytest.fixture(scope="session")
def keyed() -> Any:
    """Makes the two sides of a session without the slow hello."""
    numbers = itertools.count()

    def make() -> tuple[PeerSession, PeerSession]:
        name = str(next(numbers))
        key = bytes(32)
        return PeerSession(name, key, initiator=True), PeerSession(name, key, initiator=False)

    return make


@settings(deadline=None)
@given(payload=st.binary(max_size=300), aad=st.binary(max_size=50))
def test_any_payload_arrives(keyed: Any, payload: bytes, aad: bytes) -> None:
    initiator, responder = keyed()
    assert responder.open(initiator.seal(payload, aad), aad) == payload
    assert initiator.open(responder.seal(payload, aad), aad) == payload


@settings(deadline=None)
@given(payload=st.binary(max_size=50), data=st.data())
def test_an_altered_frame_never_opens_and_does_no_harm(
    keyed: Any, payload: bytes, data: st.DataObject
) -> None:
    initiator, responder = keyed()
    frame = initiator.seal(payload, AAD)
    altered = bytearray(frame)
    altered[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(frame) - 1))
    for wrong in (bytes(altered), frame[:cut], frame + b"x"):
        refused(responder.open, wrong, AAD)
    assert "not genuine" in refused(responder.open, frame, AAD + b"x")
    assert responder.open(frame, AAD) == payload


def test_a_frame_does_not_open_on_the_side_that_made_it(keyed: Any) -> None:
    initiator, _ = keyed()
    assert refused(initiator.open, initiator.seal(b"x", AAD), AAD) == "the frame is not genuine"


def test_a_frame_of_another_session_does_not_open(keyed: Any) -> None:
    (initiator, _), (_, responder) = keyed(), keyed()
    assert refused(responder.open, initiator.seal(b"x", AAD), AAD) == "the frame is not genuine"


@settings(deadline=None)
@given(order=st.permutations(range(12)), again=st.lists(st.integers(0, 11)))
def test_frames_open_once_each_in_any_order(keyed: Any, order: list[int], again: list[int]) -> None:
    initiator, responder = keyed()
    frames = [initiator.seal(bytes([number]), AAD) for number in range(12)]
    for number in order:
        assert responder.open(frames[number], AAD) == bytes([number])
    for number in again:
        assert "sent before" in refused(responder.open, frames[number], AAD)


@settings(deadline=None)
@given(
    arrivals=st.lists(
        st.integers(0, 40) | st.integers(WINDOW - 3, WINDOW + 40) | st.integers(0, 4 * WINDOW),
        max_size=30,
    )
)
def test_the_window_admits_what_a_set_would(keyed: Any, arrivals: list[int]) -> None:
    initiator, responder = keyed()
    newest, seen = -1, set()
    for number in arrivals:
        initiator._sent = number
        frame = initiator.seal(b"", AAD)
        if number in seen or number <= newest - WINDOW:
            assert "sent before" in refused(responder.open, frame, AAD)
        else:
            assert responder.open(frame, AAD) == b""
            seen.add(number)
            newest = max(newest, number)


def test_the_last_possible_counter_costs_no_memory(keyed: Any) -> None:
    initiator, responder = keyed()
    responder.open(initiator.seal(b"", AAD), AAD)
    initiator._sent = 2**64 - 1
    responder.open(initiator.seal(b"", AAD), AAD)
    assert responder._received._seen == 1


def test_golden_frames_stay_as_they_are(golden: dict[str, Any]) -> None:
    """Agents of different versions talk during an upgrade."""
    fixed = golden["frames"]
    key, aad = bytes.fromhex(fixed["key"]), fixed["aad"].encode()
    sender = PeerSession(fixed["session_id"], key, initiator=True)
    receiver = PeerSession(fixed["session_id"], key, initiator=False)
    for payload, frame in zip(fixed["payloads"], fixed["frames"], strict=True):
        assert sender.seal(payload.encode(), aad).hex() == frame
        assert receiver.open(bytes.fromhex(frame), aad) == payload.encode()
