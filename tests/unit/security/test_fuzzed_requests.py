"""Whatever comes as header or body is opened, or refused with an error that has a code."""

from __future__ import annotations

import base64
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyobshell import errors
from pyobshell.api.gateway import _first_json_value
from pyobshell.security.hybrid import open_body, open_header_v1, open_header_v2

NAMES = st.sampled_from(["auth", "Auth", "ts", "Ts", "uri", "keys", "Keys", "password", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=8,
)
some = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def coded(function, *given):
    """What a function gives; its refusal otherwise. Any other error fails the test."""
    try:
        return function(*given)
    except errors.OBShellError as refused:
        if refused.code.status not in (400, 401):
            raise
        return refused


@some
@given(
    value=st.text(st.characters(max_codepoint=255)) | st.binary(max_size=800).map(base64.b64encode)
)
def test_a_header_of_any_text_is_refused(own_key, value):
    text = value.decode() if isinstance(value, bytes) else value
    for opener in (open_header_v2, open_header_v1):
        assert isinstance(coded(opener, own_key, text), errors.OBShellError)


@some
@given(content=JSON.map(json.dumps).map(str.encode) | st.binary(max_size=400))
def test_a_header_of_any_content_is_opened_or_refused(own_key, content):
    sealed = base64.b64encode(own_key.public.encrypt_sections(content)).decode()
    for opener in (open_header_v2, open_header_v1):
        coded(opener, own_key, sealed)


@given(keys=st.none() | st.binary(min_size=32, max_size=32), body=st.binary(max_size=200))
def test_a_body_of_any_bytes_is_opened_or_refused(keys, body):
    for given_body in (body, base64.b64encode(body)):
        coded(open_body, keys, given_body)


@given(st.binary(max_size=100) | JSON.map(json.dumps).map(lambda text: text.encode() + b" x"))
def test_of_any_body_the_first_value_is_json_or_it_is_refused(body):
    value = coded(_first_json_value, body)
    assert isinstance(value, errors.OBShellError) or json.loads(value) is not None
