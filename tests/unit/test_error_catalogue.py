"""The error catalogue: codes and statuses are a contract with clients, texts are bilingual."""

from __future__ import annotations

from string import Formatter

import pytest

from pyobshell import errors
from pyobshell.errors import ErrorCode, OBShellError, coded

CODES = {name: code for name, code in vars(errors).items() if isinstance(code, ErrorCode)}
every_code = pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())


def placeholders(template: str) -> dict[str, str]:
    """The names in a template, each with its format."""
    return {name: spec or "" for _, name, spec, _ in Formatter().parse(template) if name}


def sample(code: ErrorCode) -> OBShellError:
    """An error of that code, with an argument for each placeholder."""
    return code(
        **{name: 2.5 if spec else f"<{name}>" for name, spec in placeholders(code.en).items()}
    )


def test_no_two_errors_have_the_same_name():
    names = [code.name for code in CODES.values()]
    assert len(names) > 60
    assert len(set(names)) == len(names)


@every_code
def test_both_languages_tell_the_same_facts(code):
    assert placeholders(code.en) == placeholders(code.zh)
    assert code.en != code.zh or not code.en.strip()
    assert not code.en.isspace()


@every_code
def test_every_text_can_be_filled_in(code):
    error = sample(code)
    for language in ("en", "zh"):
        text = error.text(language)
        assert text
        assert "{" not in text
        for name, spec in placeholders(code.en).items():
            assert ("2.5" if spec else f"<{name}>") in text
    assert str(error) == error.text("en")
    assert error.logged() == f"ERROR: [{code.name}]: {error}"


COME_AGAIN = {
    "Security.Authentication.TooManyFailures",
    "Security.Authentication.Header.TooMany",
}


@every_code
def test_statuses_are_those_clients_know(code):
    assert code.status in {400, 401, 404, 500} or code.name in COME_AGAIN
    assert (code.status == 429) == (code.name in COME_AGAIN)


@every_code
def test_only_the_two_numbers_that_clients_act_on_are_sent(code):
    if code is errors.HEADER_DECRYPT_FAILED:
        assert code.number == 1
    elif code.status == 401 and code.name.startswith(("Security.Authentication.", "Common.")):
        assert code.number == 10008
    else:
        assert code.number == 0


@every_code
def test_names_are_dotted_words(code):
    parts = code.name.split(".")
    assert len(parts) >= 2
    assert all(part.isalnum() and part[0].isupper() for part in parts)


@every_code
def test_the_chinese_text_is_chinese(code):
    assert any("\u4e00" <= character <= "\u9fff" for character in code.zh)


def test_a_missing_task_is_recognised_by_the_text_the_go_client_looks_for():
    assert "Task not found" in str(errors.TASK_NOT_FOUND(reason="x"))
    assert "Task not found" in errors.TASK_NOT_FOUND(reason="x").text("zh")


def test_an_error_without_a_code_is_unexpected_and_keeps_its_text():
    coded_one = errors.AGENT_NO_MASTER()
    assert coded(coded_one) is coded_one
    for error, cause in [(ValueError("odd"), "odd"), (KeyError(), "KeyError")]:
        found = coded(error)
        assert found.code is errors.UNEXPECTED
        assert found.arguments == {"cause": cause}
