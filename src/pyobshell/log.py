"""Structured logs: one JSON object a line, rotated, and no secret in them."""

from __future__ import annotations

import logging
import logging.handlers
from collections.abc import MutableMapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import structlog

from pyobshell.secret_names import MASK, is_secret
from pyobshell.visible import spelled_out

_MAX_BYTES, _KEPT_FILES = 32 * 1024 * 1024, 5
_LONGEST_TRACE_ID = 64  # clients choose it


def configure(level: str, file: Path | None) -> None:
    """Send the process's logs to a file, or to stderr where none is given."""
    handler: logging.Handler = logging.StreamHandler()
    if file is not None:
        file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(
            file,
            maxBytes=_MAX_BYTES,
            backupCount=_KEPT_FILES,
            encoding="utf-8",
            errors="backslashreplace",
        )
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
        mask_secrets,
    ]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
                _spell_out,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for chatty in ("httpx", "httpcore", "alembic", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It warns of each request that it cannot read: strangers would fill the log with that.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _spell_out(_logger: Any, _method: str, line: Any) -> str:
    """A line of JSON that can be read on a terminal whoever's words are in it."""
    return spelled_out(line)


def tracing(trace_id: str) -> AbstractContextManager[None]:
    """Have all that is logged meanwhile, also by tasks begun meanwhile, name this trace."""
    return structlog.contextvars.bound_contextvars(trace_id=trace_id[:_LONGEST_TRACE_ID])


def current_trace() -> str | None:
    """The trace that is logged now."""
    trace_id: str | None = structlog.contextvars.get_contextvars().get("trace_id")
    return trace_id


def mask_secrets(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace the values of fields that hold secrets."""
    for name in event:
        if is_secret(name):
            event[name] = MASK
    return event
