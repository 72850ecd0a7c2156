"""SQL text as a sequence of words, as far as the cluster statements need it."""

from __future__ import annotations

import re

from standin.errors import syntax

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<comment>/\*.*?\*/|--\s[^\n]*|\#[^\n]*)
      | '(?P<single>(?:[^'\\]|\\.|'')*)'
      | "(?P<double>(?:[^"\\]|\\.|"")*)"
      | `(?P<back>[^`]*)`
      | (?P<word>[\w.$@:%+-]+)
      | (?P<mark>[^\s\w])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)|''|\"\"", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "Z": "\x1a"}


class Words:
    """The words of one statement, taken from the left."""

    def __init__(self, statement: str) -> None:
        self._text = statement
        self._words: list[tuple[str, bool]] = []
        for found in _TOKEN.finditer(statement.strip().rstrip(";")):
            kind = found.lastgroup
            if kind in ("single", "double"):
                self._words.append((_unescaped(found[kind]), True))
            elif kind == "back":
                self._words.append((found["back"], True))
            elif kind != "comment" and kind is not None:
                self._words.append((found[kind], False))
        self._at = 0

    def accept(self, *words: str) -> bool:
        """Take these words if they come next."""
        ahead = self._words[self._at : self._at + len(words)]
        fits = [not quoted and word.upper() for word, quoted in ahead] == list(words)
        self._at += len(words) if fits else 0
        return fits

    def expect(self, *words: str) -> None:
        """Take these words, which must come next."""
        if not self.accept(*words):
            raise self.error()

    def one_of(self, *choices: str) -> str:
        """Take one of these (several words are separated by blanks); "" if none comes next."""
        return next((choice for choice in choices if self.accept(*choice.split())), "")

    def value(self) -> str:
        """Take the next word, a name or a value, whatever its quotation."""
        if self.ended():
            raise self.error()
        self._at += 1
        return self._words[self._at - 1][0]

    def equals(self) -> str:
        """Take an optional equals sign and the value after it."""
        self.accept("=")
        return self.value()

    def values(self) -> list[str]:
        """Take values with commas between, with or without parentheses."""
        enclosed = self.accept("(")
        found = [self.value()]
        while self.accept(","):
            found.append(self.value())
        if enclosed:
            self.expect(")")
        return found

    def ended(self) -> bool:
        """Whether nothing is left."""
        return self._at >= len(self._words)

    def end(self) -> None:
        """Nothing may be left."""
        if not self.ended():
            raise self.error()

    def error(self) -> Exception:
        """The error that what comes next is wrong."""
        return syntax(" ".join(word for word, _ in self._words[self._at :]) or self._text)


def _unescaped(text: str) -> str:
    def plain(found: re.Match[str]) -> str:
        return _ESCAPED.get(found[1], found[1]) if found[1] else found[0][0]

    return _ESCAPE.sub(plain, text)
