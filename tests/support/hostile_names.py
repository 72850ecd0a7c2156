"""Names that would say something else to SQL, to a shell, to a command line, to a path."""

from __future__ import annotations

VISIBLE = {
    "a quote": "z' or '1'='1",
    "a double quote": 'z"; drop user root; "',
    "a backquote": "z` = 1, `b",
    "a backslash": "z\\' ; shutdown -- ",
    "a semicolon": "z; shutdown",
    "a comment": "z -- x",
    "another comment": "z /* x */",
    "a sharp": "z # x",
    "typographic quotes": "z’ or ‘1’＝‘1",
    "a fullwidth quote": "z＇;",
    "a command of a shell": "$(touch owned)",
    "an old command of a shell": "`touch owned`",
    "a pipe": "z|touch owned>x&",
    "a variable": "${HOME}~*?[a]!",
    "spaces": "  z  ",
    "a leading dash": "-o",
    "an option": "--parameter=x",
    "a placeholder": "%s %(name)s %% {0} {zone}",
    "a path": "../../../../etc/passwd",
    "an emoji": "zone😀",
}
UNSEEN = {
    "a line feed": "z\nalter system stop",
    "a carriage return": "z\rx",
    "a tab": "z\tx",
    "nothing": "z\0x",
    "an escape": "z\x1b[2J",
    "a C1 control": "z\x9b1A",
    "a change of direction": "z\u202egnitirw",
    "a line separator": "z\u2028x",
}
