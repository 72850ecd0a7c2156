"""An observer's files are known through all links, and nothing else is ever removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyobshell import errors
from pyobshell.engines import ServerConfig
from pyobshell.engines.observer import Observer
from pyobshell.engines.observer_files import ObserverFiles

SERVER_FILES = [
    "etc/observer.config.bin",
    "etc/observer.config.bin.history",
    "etc2/observer.conf.bin",
    "etc3/observer.conf.bin.history",
    "log/observer.log",
    "log/observer.log.wf",
    "log/election.log.20260101",
    "log/alert/alert.log",
    "run/observer.pid",
    "run/sql.sock",
    "store/sstable/block_file",
    "store/slog/server/1",
    "store/clog/tenant_1/1/log/0",
]
OTHERS_FILES = [
    *("bin/observer", "lib/libaio.so", "etc/notes", "etc2/notes", "log/obshell.log", "run/agent"),
    *("store/notes", ".obshell/key", "log_obshell/obshell.log"),
]


def write(home, names):
    for name in names:
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")


def store(home, text):
    write(home, ["etc/observer.config.bin"])
    (home / "etc/observer.config.bin").write_bytes(text)


def files_in(home):
    return {str(file.relative_to(home)) for file in home.rglob("*") if not file.is_dir()}


def of(home, **config):
    return ObserverFiles.of(home, ServerConfig(home, 2881, **config))


# --- what it has recorded ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", {}),
        (b"\0" * 48 + b"zone=zone1\nmysql_port=2881\n", {"zone": "zone1", "mysql_port": "2881"}),
        (b"\x14\xb9\0\x8d=\xffzone=zone1\nrpc_port = 1", {"zone": "zone1"}),
        (b"\0devname=\nlocal_ip=10.0.0.1 \r\n", {"devname": "", "local_ip": "10.0.0.1"}),
        (b"\0a=b=c,d\ngarbage\n=x\n", {"a": "b=c,d"}),
        (b"\0cluster=\xe5\xaf\x86\n[1002]\ncluster=other", {"cluster": "密"}),
        (b"\0cluster=x\xc2\x85y\n", {"cluster": "x\x85y"}),
    ],
    ids=["empty", "plain", "header", "spaces", "equals", "tenants", "odd"],
)
def test_the_record_is_read_whatever_is_around_it(text, expected, tmp_path):
    store(tmp_path, text)
    assert ObserverFiles.of(tmp_path).stored() == expected


def test_before_the_first_start_there_is_no_record(tmp_path):
    assert ObserverFiles.of(tmp_path).stored() == {}


def test_a_record_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "etc/observer.config.bin").mkdir(parents=True)
    with pytest.raises(errors.OBShellError, match="cannot be read") as failed:
        ObserverFiles.of(tmp_path)
    assert failed.value.code is errors.SERVER_UNAVAILABLE


def test_the_data_is_where_the_record_says_and_links_lead(tmp_path):
    store(tmp_path, b"\0data_dir=disk\n")
    (tmp_path / "disk").mkdir()
    (tmp_path / "logs").mkdir()
    (tmp_path / "disk/clog").symlink_to(tmp_path / "logs")
    files = ObserverFiles.of(tmp_path)
    assert files.block_file == tmp_path / "disk/sstable/block_file"
    assert files.clog == tmp_path / "logs"


# --- deployment ----------------------------------------------------------------------------------


def test_directories_are_made_twice_without_complaint_and_for_its_user_alone(tmp_path):
    files = of(tmp_path / "home")
    files.make()
    files.make()
    for name in (".", "store", "store/clog", "store/sstable", "etc", "log", "run"):
        made = tmp_path / "home" / name
        assert not made.is_symlink()
        assert made.stat().st_mode & 0o777 == 0o700


def test_data_elsewhere_is_reached_by_links(tmp_path):
    files = of(tmp_path / "home", data_dir=tmp_path / "data", redo_dir=tmp_path / "redo")
    files.make()
    files.make()
    home = tmp_path / "home"
    assert (home / "store").readlink() == tmp_path / "data"
    assert (home / "store/clog").resolve() == tmp_path / "redo/clog"
    assert ObserverFiles.of(home).clog == tmp_path / "redo/clog"
    assert ObserverFiles.of(home).data == tmp_path / "data"


@pytest.mark.parametrize("which", ["data/sstable", "data/slog", "redo/clog"])
def test_a_directory_that_is_not_empty_is_refused_and_nothing_is_made(which, tmp_path):
    write(tmp_path, [f"{which}/something"])
    before = sorted(tmp_path.rglob("*"))
    files = of(tmp_path / "home", data_dir=tmp_path / "data", redo_dir=tmp_path / "redo")
    with pytest.raises(errors.OBShellError, match=f"{which} is not empty"):
        files.make()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_system_of_its_own_counts_as_empty_and_stays_so(tmp_path):
    (tmp_path / "redo/clog/lost+found").mkdir(parents=True)
    files = of(tmp_path / "home", redo_dir=tmp_path / "redo")
    files.make()
    write(tmp_path, ["redo/clog/tenant_1/log"])
    files.remove()
    assert list((tmp_path / "redo/clog").iterdir()) == [tmp_path / "redo/clog/lost+found"]


def test_an_empty_store_makes_room_for_the_link_and_another_is_refused(tmp_path):
    (tmp_path / "home/store").mkdir(parents=True)
    of(tmp_path / "home", data_dir=tmp_path / "data").make()
    assert (tmp_path / "home/store").is_symlink()
    with pytest.raises(errors.OBShellError, match="it is something else"):
        of(tmp_path / "home", data_dir=tmp_path / "other").make()


# --- removal -------------------------------------------------------------------------------------


def test_removing_leaves_what_others_have(tmp_path):
    write(tmp_path, SERVER_FILES + OTHERS_FILES)
    ObserverFiles.of(tmp_path).remove()
    assert files_in(tmp_path) == set(OTHERS_FILES)
    ObserverFiles.of(tmp_path).remove()


def test_what_was_deployed_elsewhere_goes_with_its_links(tmp_path):
    home = tmp_path / "home"
    of(home, data_dir=tmp_path / "data", redo_dir=tmp_path / "redo").make()
    write(home, SERVER_FILES)
    store(home, f"\0data_dir={tmp_path}/data\n".encode())
    ObserverFiles.of(home).remove()
    assert list(tmp_path.iterdir()) == [home]
    assert list(home.iterdir()) == []


def test_links_in_the_data_are_removed_and_what_they_point_at_is_not(tmp_path):
    home = tmp_path / "home"
    write(tmp_path, ["others/rows"])
    of(home).make()
    (home / "store/sstable/link").symlink_to(tmp_path / "others")
    (home / "store/slog/link").symlink_to(tmp_path / "nowhere")
    ObserverFiles.of(home).remove()
    assert files_in(tmp_path) == {"others/rows"}


def test_a_directory_that_is_a_link_is_emptied_where_it_leads(tmp_path):
    """As other tools deploy: the parts of the store are links."""
    home = tmp_path / "home"
    write(tmp_path, ["disk/block_file"])
    (home / "store").mkdir(parents=True)
    (home / "store/sstable").symlink_to(tmp_path / "disk")
    ObserverFiles.of(home).remove()
    assert (home / "store/sstable").readlink() == tmp_path / "disk"
    assert list((tmp_path / "disk").iterdir()) == []


def test_a_mount_point_is_emptied_and_stays(tmp_path, monkeypatch):
    home = tmp_path / "home"
    files = of(home, data_dir=tmp_path / "data")
    files.make()
    write(tmp_path, ["data/sstable/block_file"])
    removing = Path.rmdir

    def rmdir(directory):
        if directory == tmp_path / "data":
            raise OSError(16, "Device or resource busy")
        removing(directory)

    monkeypatch.setattr(Path, "rmdir", rmdir)
    files.remove()
    assert list((tmp_path / "data").iterdir()) == []


def test_a_removal_that_was_cut_off_is_completed_later(tmp_path, monkeypatch):
    home = tmp_path / "home"
    of(home, data_dir=tmp_path / "data", redo_dir=tmp_path / "redo").make()
    write(home, SERVER_FILES)
    store(home, f"\0data_dir={tmp_path}/data\n".encode())
    with monkeypatch.context() as patched:
        patched.setattr(Path, "glob", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ObserverFiles.of(home).remove()
    ObserverFiles.of(home).remove()
    assert list(tmp_path.iterdir()) == [home]


# --- as the engine understands it ----------------------------------------------------------------


@pytest.fixture
def engine(tmp_path):
    return Observer(tmp_path, None, tmp_path / ".obshell")


def test_what_it_was_started_with_is_told_with_its_default_ports(engine, tmp_path):
    assert engine.recorded() is None
    store(tmp_path, b"\0local_ip=fe80:0::1\nzone=z\ncluster_id=\nmysql_port=12881\n")
    assert engine.recorded() == ServerConfig(
        engine.home, 12881, 2882, ip="fe80::1", zone="z", cluster="", cluster_id=0
    )


@pytest.mark.parametrize(
    "text",
    [
        b"local_ip=10.0.0.1\n",
        b"zone=z\n",
        b"local_ip=10.0.0.1\nzone=z\nrpc_port=x",
        b"local_ip=10.0.0.1\nzone=z\ncluster_id=x",
    ],
)
def test_a_record_without_what_is_needed_is_an_error(text, engine, tmp_path):
    store(tmp_path, text)
    with pytest.raises(errors.OBShellError, match="is not understood") as failed:
        engine.recorded()
    assert failed.value.code is errors.SERVER_UNAVAILABLE
