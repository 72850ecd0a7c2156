"""What the demo says of an error."""

from __future__ import annotations

import io

import pytest

from pyobshell.cli import demo
from pyobshell.cli.outcome import CommandError
from pyobshell.cli.steps import Steps


def test_an_error_is_told_with_the_step_at_which_it_came_even_before_the_first():
    steps = Steps(io.StringIO())
    with (
        pytest.raises(CommandError, match="failed at 'preparing': no"),
        demo._naming_the_step(steps),
    ):
        raise ValueError("no")
    with (
        pytest.raises(CommandError, match="failed at 'counting': no"),
        demo._naming_the_step(steps),
        steps.step("counting", "counted"),
    ):
        raise ValueError("no")


def test_that_nobody_reads_any_more_is_not_told_to_anybody():
    with pytest.raises(BrokenPipeError), demo._naming_the_step(Steps(io.StringIO())):
        raise BrokenPipeError
