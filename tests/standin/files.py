"""What a stand-in keeps in its HOME, at the places where an operator looks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_LEADING = bytes(48)
_BLOCK_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class Home:
    """The work directory of one server."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The configuration that a start without options takes."""
        return self.path / "etc/observer.config.bin"

    @property
    def pid_file(self) -> Path:
        """The process id, as text."""
        return self.path / "run/observer.pid"

    @property
    def log_file(self) -> Path:
        """The server's log."""
        return self.path / "log/observer.log"

    @property
    def faults_file(self) -> Path:
        """What a test wants to go wrong with this server."""
        return self.path / "run/standin.faults"

    def read_config(self) -> dict[str, str] | None:
        """The stored configuration; None before the first start."""
        try:
            text = self.config_file.read_bytes().lstrip(b"\0").decode()
        except FileNotFoundError:
            return None
        pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
        return {key: value for key, _, value in pairs}

    def write_config(self, config: dict[str, str]) -> None:
        """Store the configuration: wholly, or not at all."""
        lines = "".join(f"{key}={value}\n" for key, value in config.items())
        self.config_file.parent.mkdir(exist_ok=True)
        new = self.config_file.with_suffix(".tmp")
        with new.open("wb") as file:
            file.write(_LEADING + lines.encode())
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.config_file)

    def make_directories(self) -> None:
        """What the real server makes by itself."""
        for name in ("run", "log", "etc"):
            (self.path / name).mkdir(exist_ok=True)

    def open_data_file(self, data_dir: str) -> int:
        """Make the data file if need be and keep it open, as a running server does."""
        file = self.path / data_dir / "sstable/block_file"
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if os.fstat(descriptor).st_size < _BLOCK_FILE_BYTES:
            os.truncate(descriptor, _BLOCK_FILE_BYTES)
        return descriptor
