"""Logs are JSON, one object a line, and never tell a secret."""

from __future__ import annotations

import json
import logging
import stat

import pytest
import structlog

from pyobshell.log import configure, mask_secrets

SECRET = [
    "password",
    "Password",
    "rootPwd",
    "masterPassword",
    "targetAgentPassword",
    "proxyro_password",
    "root_password",
    "new_password",
    "token",
    "passphrase",
    "aes_key",
    "keys",
    "Auth",
]


@pytest.fixture
def logging_as_before():
    """Put back how the process logs."""
    root = logging.getLogger()
    before, level = root.handlers, root.level
    config = structlog.get_config()
    yield
    for handler in root.handlers:
        if handler not in before:
            handler.close()
    root.handlers, _ = before, root.setLevel(level)
    structlog.configure(**config)


@pytest.mark.parametrize("name", SECRET)
def test_the_value_of_a_field_that_holds_a_secret_is_masked(name):
    masked = mask_secrets(None, "info", {"event": "set", name: "s3cret", "zone": "z1"})
    assert masked == {"event": "set", name: "***", "zone": "z1"}


@pytest.mark.parametrize("name", ["event", "zone", "dag_id", "author", "key"])
def test_other_fields_are_left_alone(name):
    assert mask_secrets(None, "info", {name: "plain"}) == {name: "plain"}


@pytest.mark.usefixtures("logging_as_before")
def test_a_log_file_has_one_json_object_a_line_whoever_logs(tmp_path):
    file = tmp_path / "log_obshell/obshell.log"
    configure("INFO", file)
    structlog.get_logger("ours").info("停止\nnow", action="stop", root_password="s3cret")
    structlog.get_logger("ours").debug("too much detail")
    logging.getLogger("theirs").warning("odd: %s", "x")
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger("ours").exception("failed", token="s3cret")
    for handler in logging.getLogger().handlers:
        handler.flush()
    text = file.read_text()
    first, second, third = [json.loads(line) for line in text.splitlines()]
    assert "s3cret" not in text
    assert (first["event"], first["action"], first["level"]) == ("停止\nnow", "stop", "info")
    assert (first["logger"], second["logger"]) == ("ours", "theirs")
    assert (second["event"], second["level"]) == ("odd: x", "warning")
    assert "ValueError: broken" in third["exception"]
    assert third["level"] == "error"
    assert all("timestamp" in one for one in (first, second, third))
    assert not file.parent.stat().st_mode & stat.S_IRWXO


@pytest.mark.usefixtures("logging_as_before")
def test_without_a_file_logs_go_to_stderr(capsys):
    configure("WARNING", None)
    logging.getLogger("theirs").warning("seen")
    logging.getLogger("theirs").info("not seen")
    captured = capsys.readouterr()
    assert json.loads(captured.err)["event"] == "seen"
    assert captured.out == ""


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize(
    "text",
    [
        '"}\n{"event": "forged"',
        "\x1b[2J\x1b]0;title\x07",
        "\x9b31m",
        "\r\x7f\x85",
        "\u202egnitirw\u202c",
        "a\u2028b\u2029c",
        "\u2066hidden\u2069",
        "\udcff",
    ],
)
def test_nobody_writes_a_line_of_his_own_or_moves_the_cursor_of_who_reads(tmp_path, text):
    file = tmp_path / "log_obshell/obshell.log"
    configure("INFO", file)
    structlog.get_logger("ours").info(text, trace_id=text)
    for handler in logging.getLogger().handlers:
        handler.flush()
    written = file.read_text(encoding="utf-8")
    (line,) = written.splitlines()
    assert json.loads(line)["trace_id"] == text
    assert all(character.isprintable() for character in line)


@pytest.mark.usefixtures("logging_as_before")
def test_requests_that_cannot_be_read_are_not_logged_each(capsys):
    configure("INFO", None)
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("uvicorn.error").error("crashed")
    assert [json.loads(one)["event"] for one in capsys.readouterr().err.splitlines()] == ["crashed"]
