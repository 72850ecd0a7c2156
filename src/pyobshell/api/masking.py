"""Takes the secrets out of a request, and what is too long, before it is written down.

A secret is known by its name, in any case: as a key of an object, as the ``name`` beside a
``value``, as an item of a list, in the query. Of a text that names one, such as SQL, a command or
``host=…&access_key=…``, all that follows the name is taken for it.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Any
from urllib.parse import unquote_plus

from pyobshell.secret_names import MASK, WORDS, is_secret

_LEFT_OUT = "…"
_LONGEST_BODY = 8192
_LONGEST_TEXT = 1024
_MOST_ITEMS = 200
_DEEPEST = 16

_IN_TEXT = re.compile(
    rf"(?:{WORDS})\w*|identified\s{{1,9}}by|(?:^|\s)(?:-p(?=\s?\S)|--rp\b)"
    r"|\b(?:pass|pswd|pw|auth)\b|://[^\s/:@]{0,64}(?=:[^\s/@]{0,256}@)"
    r"|-----BEGIN [A-Z ]{0,32}PRIVATE KEY",
    re.IGNORECASE,
)
_A_NAME = re.compile(r"[\w.-]{1,64}")
_NAMING = ("name", "key", "parameter", "param", "option", "variable", "field", "id", "target")


def masked_body(body: bytes) -> str:
    """A body of JSON without its secrets, as JSON of limited length; only objects are shown."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return json.dumps(MASK)
    if not isinstance(value, dict):
        return json.dumps(MASK)
    return _fitting(_masked(value, _DEEPEST))


def masked_target(target: str) -> str:
    """Path and query without the secrets of the query."""
    path, question, query = _cut(target).partition("?")
    parts = [_masked_parameter(part) for part in re.split("([&;])", query)]
    return _cut(path + question + "".join(parts))


def _masked_parameter(part: str) -> str:
    name, equals, value = part.partition("=")
    if is_secret(unquote_plus(name)):
        return f"{name}{equals}{MASK}"
    plain = unquote_plus(value)
    return part if _masked_text(plain) == plain else f"{name}{equals}{MASK}"


def _masked(value: Any, depth: int) -> Any:
    if isinstance(value, dict | list) and depth == 0:
        return _LEFT_OUT
    if isinstance(value, dict):
        named = _named_secret(value)
        shown = {
            _masked_text(_cut(name)): MASK
            if is_secret(name) or (named and name.casefold() not in _NAMING)
            else _masked(inner, depth - 1)
            for name, inner in islice(value.items(), _MOST_ITEMS)
        }
        return shown if len(value) <= _MOST_ITEMS else {**shown, _LEFT_OUT: _LEFT_OUT}
    if isinstance(value, list):
        named = any(map(_names_secret, value))
        items = [
            MASK if named and not _names_secret(one) else _masked(one, depth - 1)
            for one in value[:_MOST_ITEMS]
        ]
        return items if len(value) <= _MOST_ITEMS else [*items, _LEFT_OUT]
    if isinstance(value, str):
        return _masked_text(_cut(value))
    return value


def _masked_text(text: str) -> str:
    """A text without what follows the first name of a secret in it."""
    found = _IN_TEXT.search(text)
    return text if found is None or not text[found.end() :] else text[: found.end()] + MASK


def _named_secret(item: dict[str, Any]) -> bool:
    """Whether an object gives a secret as a parameter is given: its name, and its value."""
    return any(_names_secret(inner) for name, inner in item.items() if name.casefold() in _NAMING)


def _names_secret(value: Any) -> bool:
    return isinstance(value, str) and _A_NAME.fullmatch(value) is not None and is_secret(value)


def _cut(text: str) -> str:
    whole = text.encode("utf-8", "replace").decode()  # JSON can spell half a character
    return whole if len(whole) <= _LONGEST_TEXT else whole[:_LONGEST_TEXT] + _LEFT_OUT


def _fitting(body: dict[str, Any]) -> str:
    """The body as JSON, without those of its values for which there is no room."""
    kept: dict[str, Any] = {}
    room = _LONGEST_BODY
    for name, value in body.items():
        for shown in (value, _LEFT_OUT):
            size = len(_dumped({name: shown}))
            if size <= room:
                kept[name] = shown
                room -= size
                break
        else:
            kept[_LEFT_OUT] = _LEFT_OUT
            break
    return _dumped(kept)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
