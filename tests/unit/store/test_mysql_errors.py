"""What a server answers becomes an error of the catalogue, in its words, with no statement."""

from __future__ import annotations

import pymysql
import pytest
from sqlalchemy.exc import DBAPIError, OperationalError

from pyobshell import errors
from pyobshell.store.mysql import coded, is_passing, is_undone

STATEMENT = "INSERT INTO t VALUES ('s3cret')"


def failed(error: Exception, *, lost: bool = False) -> DBAPIError:
    return OperationalError(STATEMENT, {"password": "s3cret"}, error, connection_invalidated=lost)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (pymysql.err.OperationalError(1045, "Access denied for root"), errors.MYSQL_ERROR),
        (pymysql.err.OperationalError(2003, "Can't connect"), errors.SERVER_UNAVAILABLE),
        (pymysql.err.OperationalError(2013, "Lost connection"), errors.SERVER_UNAVAILABLE),
        (pymysql.err.InternalError(4012, "Timeout"), errors.SERVER_UNAVAILABLE),
        (pymysql.err.InterfaceError(0, ""), errors.SERVER_UNAVAILABLE),
        (pymysql.err.IntegrityError(1062, "Duplicate entry"), errors.MYSQL_ERROR),
        (pymysql.err.OperationalError(1205, "Lock wait timeout"), errors.MYSQL_ERROR),
    ],
    ids=repr,
)
def test_errors_of_the_driver_are_coded_with_or_without_a_statement(error, code):
    for one in (error, failed(error)):
        translated = coded(one)
        assert isinstance(translated, errors.OBShellError)
        assert translated.code is code
        assert "s3cret" not in str(translated)
    assert "password" in str(coded(pymysql.err.OperationalError(1045, "Access denied")))


def test_other_errors_are_as_they_are_but_for_those_of_the_system():
    error = ValueError("x")
    assert coded(error) is error
    refusal = errors.ZONE_NAME_EMPTY()
    assert coded(refusal) is refusal
    translated = coded(ConnectionRefusedError(111, "Connection refused"))
    assert isinstance(translated, errors.OBShellError)
    assert translated.code is errors.SERVER_UNAVAILABLE


def test_another_attempt_is_worth_it_after_a_loss_and_when_somebody_was_in_the_way():
    assert is_passing(failed(pymysql.err.OperationalError(2013, "Lost"), lost=True))
    for number in (1205, 1213, 6002):
        assert is_passing(failed(pymysql.err.OperationalError(number, "")))
    for number in (1062, 4012, 1045, 2003):
        assert not is_passing(failed(pymysql.err.OperationalError(number, "")))
    assert not is_passing(ValueError())


def test_only_a_server_that_answers_says_that_a_commit_came_to_nothing():
    assert is_undone(failed(pymysql.err.OperationalError(6002, "Transaction rollbacked")))
    assert not is_undone(failed(pymysql.err.OperationalError(2013, "Lost"), lost=True))
    assert not is_undone(failed(pymysql.err.OperationalError(4012, "Timeout")))
    assert not is_undone(ValueError())
