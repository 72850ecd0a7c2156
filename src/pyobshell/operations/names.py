"""Names and values that go to a server: into its command line, its SQL, its files."""

from __future__ import annotations

from pyobshell import errors
from pyobshell.visible import is_plain

_LONGEST_BYTES = 4096  # as a path


def require_plain(name: str, value: str) -> None:
    """Raise ``Common.IllegalArgument`` for a value that no server and no file can have as a name.

    Quotes and the like are harmless: what goes to a server goes as one value, or one word.
    """
    if not is_plain(value):
        raise errors.ILLEGAL_ARGUMENT(name=name, reason="it has a character that cannot be seen")
    if len(value.encode()) > _LONGEST_BYTES:
        raise errors.ILLEGAL_ARGUMENT(name=name, reason=f"it has more than {_LONGEST_BYTES} bytes")
