"""Which servers a start or a stop is for, and what is said when it fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pyobshell.cli import place
from pyobshell.cli.outcome import CommandError
from pyobshell.cli.startstop import Order, Targets, choose, split


@pytest.mark.parametrize(
    ("given", "targets"),
    [
        ((None, None, True), Targets("GLOBAL", (), ("-a",))),
        ((None, "z1, z2", False), Targets("ZONE", ("z1", "z2"), ("-z", "z1, z2"))),
        (("10.0.0.1", None, False), Targets("SERVER", ("10.0.0.1",), ("-s", "10.0.0.1"))),
        ((None, None, False), Targets("SERVER")),
    ],
)
def test_the_options_say_which_servers(given, targets):
    assert choose(*given) == targets


@pytest.mark.parametrize("given", [("s", "z", False), ("s", None, True), (None, "z", True)])
def test_only_one_of_the_options_can_be_given(given):
    with pytest.raises(CommandError, match="exclude each other"):
        choose(*given)


@pytest.mark.parametrize("option", ["-s", "-z"])
@pytest.mark.parametrize("empty", ["", " ", ","])
def test_an_empty_list_does_not_mean_the_own_server(obshell, option, empty):
    code, _, err = obshell("cluster", "stop", option, empty, "-y", "--base-dir", "/nowhere")
    assert code == 2
    assert f"{option} '{empty}' names nothing" in err


def test_lists_may_be_repeated_or_separated_by_commas():
    assert split(["1,2", " 3 ", ""]) == ["1", "2", "3"]


def order(*words: str, force_pass: tuple[str, ...] = ()) -> Order:
    where = place.locate(Path("/home"))
    return Order(where, Targets("GLOBAL"), words, list(force_pass), as_json=False, verbose=False)


def test_what_stands_in_the_way_can_be_given_up_by_the_command_that_is_shown(make_dag):
    log = "[Agent.UnderMaintenanceDag]: … of DAG 2213; name 2213 in forcePassDag to release it"
    advice = order("cluster", "stop", "-a", "-f").advice(make_dag(("A", "FAILED", [log])))
    assert advice[0].endswith("obshell task retry -i 22130706433028869 --base-dir /home")
    command = "obshell cluster stop -a -f --force-pass-dag 2213 --base-dir /home"
    assert advice[1].endswith(command)


def test_what_was_given_up_already_is_given_up_again(make_dag):
    log = "[Agent.UnderMaintenanceDag]: … of DAG 2213"
    advice = order("cluster", "stop", force_pass=("2211",)).advice(make_dag(("A", "FAILED", [log])))
    assert "--force-pass-dag 2211 --force-pass-dag 2213" in advice[1]


def test_what_an_agent_did_alone_is_told_with_what_it_noted(make_dag):
    data = {"emergency": "nobody answers", "notes": ["WARNING: it is locked"]}
    dag = make_dag(("Stop observer", "FAILED", ["no"]), additional_data=data)
    mode, note, again = order("cluster", "stop", "-f").advice(dag)
    assert mode.startswith("Emergency mode, as nobody answers: this agent acts alone")
    assert note == "WARNING: it is locked"
    assert again.endswith("obshell cluster stop -f --base-dir /home")


def test_a_server_that_cannot_be_flushed_can_be_left_out_or_killed(make_dag):
    log = "ERROR: c:1: no. No server was killed; not flushed: c:1; flushed: a:1,b:1"
    dag = make_dag(("Minor freeze", "FAILED", [log]))
    _, without, kill = order("cluster", "stop", "-a").advice(dag)
    assert without.endswith("without: obshell cluster stop -t -s a:1,b:1 --base-dir /home")
    assert kill.endswith("flushed: obshell cluster stop -f -s c:1 --base-dir /home")


def test_a_server_that_cannot_be_flushed_is_killed_if_it_is_the_only_one(make_dag):
    log = "ERROR: c:1: no. No server was killed; not flushed: c:1; flushed: none"
    dag = make_dag(("Minor freeze", "FAILED", [log]))
    _, kill = order("cluster", "stop").advice(dag)
    assert "cluster stop -f -s c:1" in kill


def test_a_restart_that_stopped_is_given_up_by_a_start(make_dag):
    log = "To give it up: StartCluster of the same scope with forcePassDag 22130706433028869"
    dag = make_dag(("A", "FAILED", [log, "ERROR: no"]))
    given_up_by = ("cluster", "start", "-a")
    advice = replace(order("cluster", "restart", "-a"), given_up_by=given_up_by).advice(dag)
    assert advice[0].endswith("obshell task retry -i 22130706433028869 --base-dir /home")
    again = "obshell cluster start -a --force-pass-dag 22130706433028869 --base-dir /home"
    assert advice[1].endswith(again)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-a", "-y"], "say --rolling to restart one zone after the other"),
        (["-a", "--rolling"], "is flushed, is ended and started, and is in sync before the next"),
        (["-a", "--rolling", "--no-flush"], "leaders move away, is ended and started"),
    ],
)
def test_a_restart_is_to_be_rolling_and_confirmed(obshell, words, said):
    code, out, err = obshell("cluster", "restart", *words, "--base-dir", "/nowhere")
    assert (code, out) == (2, "")
    assert said in err


def test_if_nothing_is_in_the_way_the_task_is_to_be_tried_again(make_dag):
    (advice,) = order("cluster", "stop", "-a").advice(make_dag(("A", "FAILED", ["no"])))
    assert advice.endswith("obshell task retry -i 22130706433028869 --base-dir /home")


@pytest.mark.parametrize("words", [("-a",), ("-a", "-t"), ("-s", "10.0.0.1", "-f"), ("-f",)])
def test_where_nobody_can_be_asked_a_dangerous_stop_needs_yes(obshell, words):
    code, out, err = obshell("cluster", "stop", *words, "--base-dir", "/nowhere")
    assert code == 2
    assert out == ""
    assert "say --yes" in err


@pytest.mark.parametrize("words", [("-y", "-a"), ("-z", "z1"), ()])
def test_others_are_tried_without_a_question(obshell, words):
    code, _, err = obshell("cluster", "stop", *words, "--base-dir", "/nowhere")
    assert code == 4
    assert "no agent runs on /nowhere" in err


def test_modes_exclude_each_other(obshell):
    code, _, err = obshell("cluster", "stop", "-f", "-I", "-y", "--base-dir", "/nowhere")
    assert code == 2
    assert "-f and -I exclude each other" in err
