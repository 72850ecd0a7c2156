"""Lets the command be run as `python -m pyobshell.cli`."""

from pyobshell.cli.main import main

if __name__ == "__main__":
    main()
