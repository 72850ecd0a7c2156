"""How asking an agent can fail."""

from __future__ import annotations

from pathlib import Path


class ApiError(Exception):
    """The agent refused: ``code`` (dotted), HTTP ``status``, and the message as its text."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        super().__init__(message)


class Unreachable(Exception):  # noqa: N818 - reads better where it is caught
    """No agent answers there.

    ``socket`` is where it was looked for, if on this host; ``silent`` whether it has taken the
    question and gives no answer.
    """

    def __init__(
        self, where: str, cause: str, *, socket: Path | None = None, silent: bool = False
    ) -> None:
        self.socket = socket
        self.silent = silent
        super().__init__(f"{where}: {cause}")
