"""Errors and procedures as they travel between agents."""

from __future__ import annotations

import json
from string import Formatter

import pytest

from pyobshell import errors
from pyobshell.address import Address
from pyobshell.agent import procedures
from pyobshell.cluster.procedures import (
    Nothing,
    ProcedureTable,
    error_from_wire,
    error_to_wire,
)
from pyobshell.errors import ErrorCode
from pyobshell.operations import inquire, server

CODES = {name: code for name, code in vars(errors).items() if isinstance(code, ErrorCode)}


@pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
def test_every_error_arrives_as_itself(code):
    fields = [(name, spec) for _, name, spec, _ in Formatter().parse(code.en) if name]
    error = code(**{n: 2.5 if spec else Address("10.0.0.1", 2886) for n, spec in fields})
    wire = json.loads(json.dumps(error_to_wire(error)))
    arrived = error_from_wire(wire, Address("10.0.0.2", 2886), "any")
    assert arrived.code is code
    for language in ("en", "zh"):
        assert arrived.text(language) == error.text(language)


def test_an_error_of_another_release_is_told_with_its_text():
    wire = {"code": "Of.Another.Release", "arguments": {"x": 1}, "message": "what it says"}
    error = error_from_wire(wire, Address("10.0.0.2", 2886), "server/status")
    assert error.code is errors.RPC_REQUEST_ERROR
    assert str(error) == "Agent 10.0.0.2:2886 answered server/status with an error: what it says"


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (errors.STORE_UNAVAILABLE, {"file": "meta.db", "cause": "it is full"}),
        (errors.CLUSTER_ASYNC_TIMEOUT, {"operation": "it", "seconds": "five"}),
        (errors.STORE_UNAVAILABLE, {}),
        (errors.STORE_UNAVAILABLE, None),
        (errors.STORE_UNAVAILABLE, ["it is full"]),
    ],
)
def test_an_error_with_the_arguments_of_another_release_arrives_in_its_words(code, arguments):
    wire = {"code": code.name, "arguments": arguments, "message": "it is full, it said"}
    error = error_from_wire(wire, Address("10.0.0.2", 2886), "server/status")
    assert error.code is code
    assert {error.text("en"), error.text("zh"), str(error)} == {"it is full, it said"}
    assert error.logged() == f"ERROR: [{code.name}]: it is full, it said"
    handed_on = error_from_wire(error_to_wire(error), Address("10.0.0.3", 2886), "server/status")
    assert (handed_on.code, str(handed_on)) == (code, str(error))


def test_one_that_brings_no_words_is_told_by_its_arguments():
    wire = {"code": "Agent.Store.Unavailable", "arguments": {"cause": "it is full"}}
    error = error_from_wire(wire, Address("10.0.0.2", 2886), "server/status")
    assert "it is full" in str(error)


def test_procedures_are_known_by_their_names():
    table = ProcedureTable([*server.PROCEDURES, *inquire.PROCEDURES])
    assert len(table) == len(server.PROCEDURES) + len(inquire.PROCEDURES)
    assert table["server/status"] is server.status
    assert server.status.request is Nothing
    assert not any(one.for_guests for one in table.values())


def test_only_those_who_come_together_or_part_may_ask_as_guests():
    guests = {name for name, one in procedures().items() if one.for_guests}
    coming = {"agent/admit", "agent/refresh", "scale_out/probe", "scale_out/begin"}
    left_alone = {"scale_out/fate", "agent/standing"}
    assert guests == coming | left_alone
