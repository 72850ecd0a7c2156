"""What the doctor finds, and what it does about it when it is told to."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import time

import pytest

from pyobshell.cluster.state import COUNT_CHANGE
from pyobshell.home import files, kept, processes
from pyobshell.home.examination import Orders, examine
from pyobshell.home.findings import Level
from pyobshell.home.opening import holding
from pyobshell.home.processes import Running, Task, look_at_tasks
from pyobshell.security.vault import Vault
from support.certificates import Certified
from support.findings import found

pytestmark = pytest.mark.anyio
REPAIR = Orders(repair=True)


async def test_of_a_home_that_is_well_all_is_well_and_nothing_is_changed(home):
    before = home.content()
    findings = await examine(home.settings.base_dir, None, Orders())
    assert await found(home) == {}
    assert {one.check for one in findings} == {
        "directories", "space", "logs", "settings", "agent", "database", "kept copy", "secrets",
        "agent key", "membership", "server", "tasks", "clock",
    } - ({"logs"} if not home.paths.log_dir.exists() else set())  # fmt: skip
    assert await found(home, REPAIR) == {}
    assert home.content() == before


async def test_what_an_agent_changes_while_its_home_is_looked_at_is_no_damage(home, monkeypatch):
    load = kept.load

    def load_after_a_change(file):
        with home.database() as connection:
            connection.execute(COUNT_CHANGE.text)
        copy = load(file)
        kept.store(file, copy.model_copy(update={"changes": copy.changes + 1}))
        return load(file)

    monkeypatch.setattr(kept, "load", load_after_a_change)
    assert "database" not in await found(home)


@pytest.fixture
def server_down(monkeypatch):
    """The server does not run, of whichever kind it is."""

    async def none(_):
        return None

    monkeypatch.setattr(processes, "server_pid", none)


async def server_of(home, **settings):
    """What is found of the server that was deployed, with these settings."""
    with home.database() as connection:
        connection.executemany(
            "INSERT OR REPLACE INTO setting VALUES (?, ?)",
            [("server_settings", "{}"), *settings.items()],
        )
    findings = await examine(home.settings.base_dir, None, Orders())
    return next(one for one in findings if one.check == "server")


async def test_a_server_that_is_down_as_was_asked_for_is_well(home, server_down):
    finding = await server_of(home, server_wanted="no")
    assert (finding.level, finding.message) == (Level.OK, "it is down, as was asked for")


async def test_a_server_that_could_not_be_started_is_not_well(home, server_down):
    finding = await server_of(home, server_wanted="no", failed_start="port 2881 is taken")
    assert finding.level is Level.WARNING
    assert "when it was to be started that failed: port 2881 is taken" in finding.message
    assert f"obshell cluster start --base-dir {home.settings.base_dir} -s " in finding.remedy


async def test_a_home_without_an_agent_is_no_problem(tmp_path):
    (finding,) = await examine(tmp_path, None, Orders())
    assert (finding.level, finding.check) == (Level.WARNING, "directories")
    assert "obshell agent start" in finding.remedy


async def test_what_others_may_read_is_found_and_closed(home):
    home.paths.vault_key.chmod(0o644)
    home.paths.state_dir.chmod(0o755)
    assert (await found(home))["directories"].level is Level.PROBLEM
    assert stat.S_IMODE(home.paths.vault_key.stat().st_mode) == 0o644
    assert (await found(home, REPAIR))["directories"].repaired
    assert stat.S_IMODE(home.paths.vault_key.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.paths.state_dir.stat().st_mode) == 0o700
    assert await found(home) == {}


async def test_little_space_is_told_before_there_is_none(home, monkeypatch):
    real = os.statvfs(home.paths.state_dir)

    def with_free(mebibytes, inodes=10_000):
        values = list(real)
        values[4], values[7] = mebibytes * 2**20 // real.f_frsize, inodes
        values[5] = values[5] or 10_000
        return os.statvfs_result(values)

    for mebibytes, level in ((100, None), (32, Level.WARNING), (1, Level.PROBLEM)):
        monkeypatch.setattr(files.os, "statvfs", lambda _, n=mebibytes: with_free(n))
        finding = (await found(home)).get("space")
        assert (finding and finding.level) == level
    monkeypatch.setattr(files.os, "statvfs", lambda _: with_free(100, 3))
    assert "3 inodes" in (await found(home))["space"].message


async def test_damaged_settings_are_told_and_not_guessed(home):
    home.paths.settings.write_text('{"ip": ')
    finding = (await found(home, REPAIR))["settings"]
    assert finding.level is Level.PROBLEM
    assert "obshell agent start --base-dir" in finding.remedy
    assert home.paths.settings.read_text() == '{"ip": '


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [(60, None, ""), (20, Level.WARNING, "expires in 20 days"), (-1, Level.PROBLEM, "has expired")],
)
async def test_a_certificate_is_spoken_of_before_it_expires(home, tmp_path, days, level, words):
    settings = json.loads(home.paths.settings.read_text())
    certified = Certified(tmp_path / "certified")
    pair = certified.authority.for_agent([settings["ip"]], days)
    cert, key = certified.keep("own", pair)
    files = {"tls_cert": str(cert), "tls_key": str(key)}
    home.paths.settings.write_text(json.dumps(settings | files))
    assert {name: one.level for name, one in (await found(home)).items()} == (
        {"tls": level} if level else {}
    )
    if level:
        finding = (await found(home))["tls"]
        assert words in finding.message
        assert "reload-tls" in finding.remedy
    cert.unlink()
    assert "no such file" in (await found(home))["tls"].message


async def test_what_an_agent_that_was_killed_left_is_removed(home):
    home.paths.pid_file.write_text("1")
    home.paths.socket.touch()
    assert (await found(home))["agent"].level is Level.WARNING
    assert home.paths.pid_file.exists()
    assert (await found(home, REPAIR))["agent"].repaired
    assert not home.paths.pid_file.exists()
    assert not home.paths.socket.exists()


async def test_beside_a_running_agent_nothing_is_removed_or_replaced(home):
    home.paths.pid_file.write_text("1")
    home.paths.socket.touch()
    os.truncate(home.paths.database, 8192)
    before = home.content()
    findings = await found(home, REPAIR, Running(1, []))
    assert list(findings) == ["database"]
    assert "stop the agent first" in findings["database"].remedy
    remedy = (await found(home, running=Running(1, [])))["database"].remedy
    stop, repair = remedy.split("; ")[:2]
    assert (stop.split()[:3], repair.split()[:4]) == (
        ["obshell", "agent", "stop"],
        ["obshell", "agent", "doctor", "--repair"],
    )
    assert home.content() == before
    assert home.paths.pid_file.exists()


@pytest.fixture
def paused():
    """A process that is."""
    with subprocess.Popen(["sleep", "60"]) as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        yield process.pid
        process.kill()


async def test_an_agent_that_is_paused_is_named_with_what_lets_it_go_on(home, paused):
    home.paths.socket.touch()
    home.paths.pid_file.write_text(str(paused))
    finding = (await found(home, running=Running(paused, None)))["agent"]
    assert "is paused" in finding.message
    assert finding.remedy == f"let it go on: kill -CONT {paused}"


async def test_an_agent_whose_own_process_cannot_write_is_told_of_with_where_to_look(home):
    home.paths.socket.touch()
    home.paths.pid_file.write_text("1")
    running = Running(1, [], unwritable=("/b/.obshell: read-only file system",))
    finding = (await found(home, running=running))["agent"]
    assert finding.level is Level.PROBLEM
    assert finding.message.endswith("cannot write to /b/.obshell: read-only file system")
    assert "/proc/1/mounts" in finding.remedy


async def test_an_agent_that_may_write_no_large_files_is_told_of(home, paused):
    home.paths.socket.touch()
    home.paths.pid_file.write_text(str(paused))
    resource.prlimit(paused, resource.RLIMIT_FSIZE, (409600, resource.RLIM_INFINITY))
    finding = (await found(home, running=Running(paused, [])))["agent"]
    assert finding.level is Level.WARNING
    assert finding.message.endswith("may write no file of more than 409600 bytes")
    home.paths.log_dir.mkdir(exist_ok=True)
    home.paths.log_file.touch()
    os.truncate(home.paths.log_file, 409600)
    finding = (await found(home, running=Running(paused, [])))["agent"]
    assert finding.level is Level.PROBLEM
    assert finding.message.endswith(f"and {home.paths.log_file} has come to that")


async def test_an_agent_that_does_not_answer_or_has_lost_its_socket_is_a_problem(home):
    home.paths.pid_file.write_text("1")
    home.paths.socket.touch()
    assert "does not answer" in (await found(home, running=Running(1, None)))["agent"].message
    assert "names process 1, not 2" in (await found(home, running=Running(2, [])))["agent"].message
    refusing = Running(1, None, "meta.db cannot be used")
    finding = (await found(home, running=refusing))["agent"]
    assert finding.message.endswith("but answers: meta.db cannot be used")
    assert "restart" not in finding.remedy  # it would not come up again
    home.paths.socket.unlink()
    assert "is lost" in (await found(home, running=Running(1, None)))["agent"].message


async def test_nothing_is_repaired_while_somebody_else_holds_the_home(home):
    os.truncate(home.paths.database, 0)
    with holding(home.paths.lock):
        (finding,) = await examine(home.settings.base_dir, None, REPAIR)
    assert (finding.check, finding.level) == ("agent", Level.PROBLEM)
    assert home.paths.database.stat().st_size == 0


async def test_only_the_user_of_the_agent_repairs(home, monkeypatch):
    """What another one made would be out of the agent's reach."""
    os.truncate(home.paths.database, 0)
    monkeypatch.setattr(files.os, "geteuid", lambda: home.paths.state_dir.stat().st_uid + 1)
    (finding,) = await examine(home.settings.base_dir, None, REPAIR)
    assert "repair it as that user" in finding.remedy
    assert home.paths.database.stat().st_size == 0


async def test_an_agent_started_at_another_address_is_found(home):
    settings = json.loads(home.paths.settings.read_text())
    home.paths.settings.write_text(json.dumps({**settings, "port": 12345}))
    finding = (await found(home))["membership"]
    assert finding.level is Level.PROBLEM
    assert str(home.settings.address) in finding.message


async def test_passwords_that_cannot_be_opened_are_forgotten_only_on_demand(home):
    home.paths.vault_key.unlink()
    before = home.content()
    finding = (await found(home, REPAIR))["secrets"]
    assert finding.level is Level.PROBLEM
    assert "--forget-passwords" in finding.remedy
    assert home.content() == before
    assert (await found(home, Orders(repair=True, forget_passwords=True)))["secrets"].repaired
    with home.database() as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM setting")}
    assert "identity" in names
    assert names.isdisjoint({"root_password", "agent_password"})
    assert kept.load(home.paths.kept_copy).setting("root_password") is None
    (aside,) = home.paths.state_dir.glob("broken-*")
    assert (aside / "meta.db").exists()
    assert await found(home) == {}


async def test_passwords_that_can_be_opened_are_not_forgotten(home):
    await found(home, Orders(repair=True, forget_passwords=True))
    with home.database() as connection:
        row = connection.execute(
            "SELECT value FROM setting WHERE name = 'root_password'"
        ).fetchone()
    assert Vault.open(home.paths.vault_key).open_text(row[0]) == "s3cret-root"


def a_dag(connection, state, *, locked, start=1, main=""):
    data = json.dumps({"main_dag_id": main} if main else {})
    cursor = connection.execute(
        "INSERT INTO dag (name, stage, max_stage, state, operator, maintenance_type,"
        " maintenance_key, params, data, signals, start_time, end_time)"
        " VALUES ('Stop observer', 1, 3, ?, 'RUN', 2, '', '{}', ?, '[]', ?, 0)",
        (state, data, start),
    )
    if locked:
        values = (cursor.lastrowid, start)
        connection.execute("INSERT INTO maintenance VALUES (2, '', ?, ?)", values)
    return cursor.lastrowid


@pytest.mark.parametrize("state", ["RUNNING", "FAILED"])
async def test_what_is_unfinished_is_told_with_its_lock_and_whose_it_is(home, state):
    with home.database() as connection:
        a_dag(connection, "SUCCEED", locked=False)
        a_dag(connection, "FAILED", locked=False)
        number = a_dag(connection, state, locked=True, main="2213070643302886" + "7")
    findings = await examine(home.settings.base_dir, None, Orders())
    (finding,) = [one for one in findings if one.check == "tasks"]
    assert finding.level is Level.WARNING
    assert "holds the lock of this agent" in finding.message
    assert "for 22130706433028867" in finding.message
    assert finding.message.split(")")[0].endswith(str(number))
    if state == "FAILED":
        assert "--force-pass-dag 22130706433028867" in finding.remedy


def test_a_task_that_a_running_agent_tells_of_is_only_told(tmp_path):
    task = Task("2x", "Stop observer", "RUNNING", "1 of 3", True, "2y", "gone")
    (finding,) = look_at_tasks([task], Running(1, [task]), tmp_path)
    assert finding.level is Level.OK
    assert "2y, which is no more" in finding.message


async def test_a_clock_that_was_set_back_is_noticed(home):
    with home.database() as connection:
        a_dag(connection, "SUCCEED", locked=False, start=time.time_ns() + 3600 * 10**9)
    finding = (await found(home))["clock"]
    assert finding.level is Level.WARNING
    assert "the clock has been set back" in finding.message


async def test_an_order_alone_by_a_clock_that_was_set_back_is_noticed(home):
    with home.database() as connection:
        later = str(time.time_ns() + 3600 * 10**9)
        connection.execute("INSERT OR REPLACE INTO setting VALUES ('acted_alone', ?)", (later,))
    finding = (await found(home))["clock"]
    assert finding.level is Level.WARNING
    assert "3600 s later than now" in finding.message
