"""The program ``observer``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from standin import command_line
from standin.daemon import Report, launch
from standin.files import Home
from standin.server import Server


def main(words: list[str]) -> int:
    """Start the server in the current directory; returns the launcher's exit code."""
    if words in (["-V"], ["--version"]):
        print(command_line.VERSION_TEXT, file=sys.stderr)
        return 0
    home = Home(Path.cwd())
    try:
        config = (home.read_config() or {}) | command_line.parse(words)
        command_line.check_first_start(config)
    except command_line.OptionError as error:
        print(f"observer start fail: {error}", file=sys.stderr)
        return 1
    home.make_directories()

    def serve(report: Report) -> None:
        asyncio.run(Server(home, config).run(report))

    return launch(home, serve)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
