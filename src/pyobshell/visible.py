"""Text of others, made harmless for who reads it on a terminal or in a log."""

from __future__ import annotations

import re

# Control characters but tab and line feed, those of writing direction, the line ends that JSON
# leaves as they are, and half characters, which nothing can write.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def is_plain(name: str) -> bool:
    """Whether a name or path is one line of text with nothing in it that cannot be seen."""
    return _UNSEEN.search(name) is None and "\n" not in name and "\t" not in name


def spelled_out(text: str) -> str:
    r"""A text in which what a terminal would obey, or nobody would see, is written ``\u001b``.

    Of JSON that makes JSON with the same content.
    """
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
