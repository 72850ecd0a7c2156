"""One point in time by which a piece of work must end; passed down, never restarted."""

from __future__ import annotations

import time
from dataclasses import dataclass

_EARLY_S = 0.05  # an event loop's timers go by its own clock, which counts milliseconds


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, and how many seconds it was given."""

    at: float
    seconds: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline that lies ``seconds`` from now."""
        return cls(time.monotonic() + seconds, seconds)

    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.at - time.monotonic())

    def passed(self) -> bool:
        """Whether no time is left."""
        return self.remaining() == 0.0

    def has_rung(self) -> bool:
        """Whether a timer that was set to it may have ended something: it may be a bit early."""
        return self.remaining() <= _EARLY_S

    def within(self, seconds: float) -> Deadline:
        """The earlier of this deadline and ``seconds`` from now."""
        nearer = Deadline.after(seconds)
        return nearer if nearer.at < self.at else self
