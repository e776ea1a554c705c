"""Files: atomic, never unpickled, NaN-free JSON, and where relative paths start."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from raysys.aside import aside_name
from raysys.errors import StorageError
from raysys.storage import Folder, resolve_folder


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """An empty folder of either kind."""
    if request.param == "disk":
        return Folder(str(tmp_path))
    return Folder(request.getfixturevalue("bucket")) / tmp_path.name


def test_written_files_are_read_back_and_nothing_is_left_aside(place: Folder):
    folder = place / "a b" / "ü#%"
    assert not folder.exists()
    assert folder.names() == []
    folder.write_bytes("x", b"one")
    folder.write_bytes("x", b"two")
    array = np.arange(6.0).reshape(2, 3)
    folder.write_npy("y.npy", array)
    assert folder.read_bytes("x") == b"two"
    np.testing.assert_array_equal(folder.read_npy("y.npy"), array)
    assert folder.names() == ["x", "y.npy"]
    assert (place / "a b").names() == ["ü#%"]
    assert [folder.exists(), folder.exists("x"), folder.exists("z")] == [True, True, False]
    folder.remove("x")
    assert folder.names() == ["y.npy"]
    place.delete()
    assert not place.exists()


def first(folder: Folder) -> None:
    folder.write_bytes("first", b"1")


def test_a_folder_is_claimed_once_with_what_it_begins_with(place: Folder):
    assert place.exists() or place.claim(first)
    run = place / "run"
    assert run.claim(first)
    assert not run.claim(lambda folder: folder.write_bytes("first", b"2"))
    assert run.names() == ["first"]
    assert run.read_bytes("first") == b"1"
    full = place / "full"
    full.write_bytes("x", b"")
    assert not full.claim(first)
    assert full.names() == ["x"]


def test_an_empty_folder_belongs_to_nobody_and_a_file_of_the_name_to_somebody(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    assert Folder(str(tmp_path / "empty")).claim(first)
    (tmp_path / "file").write_bytes(b"")
    assert not Folder(str(tmp_path / "file")).claim(first)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["empty", "file"]


def test_a_claim_that_cannot_begin_leaves_nothing(tmp_path: Path):
    def fail(folder: Folder) -> None:
        first(folder)
        raise StorageError("no room")

    with pytest.raises(StorageError, match="no room"):
        Folder(str(tmp_path / "run")).claim(fail)
    assert list(tmp_path.iterdir()) == []


WRITER = """
import os, sys
from pathlib import Path
from raysys.storage import Folder
Path.replace = lambda *_: os._exit(9)
Folder(sys.argv[1]).write_bytes("00000.offsets.npy", b"x")
"""
CLAIMANT = WRITER.replace(".write_bytes(", ".claim(lambda one: one.write_bytes(").replace(
    'x")', 'x"))'
)


def killed(program: str, place: Path) -> None:
    """A process that dies when what it writes would get its name."""
    assert subprocess.run([sys.executable, "-c", program, str(place)]).returncode == 9


def test_what_dead_writers_left_aside_is_swept_and_what_others_write_is_not(tmp_path: Path):
    killed(WRITER, tmp_path / "store")
    killed(WRITER, tmp_path / "store/shards")
    killed(CLAIMANT, tmp_path / "run")
    left = [one.name for one in tmp_path.rglob(".*")]
    assert len(left) == 4
    store, own = tmp_path / "store", aside_name("own")
    for name in (own, ".other." + "0a" * 16, ".lock", ".hidden.npy", "shards/whole.npy"):
        (store / name).write_bytes(b"x")
    (store / (".old." + "0a" * 16)).write_bytes(b"x")
    os.utime(store / (".old." + "0a" * 16), (0, 0))
    Folder(str(store)).sweep()
    assert Folder(str(tmp_path / "run")).claim(first)
    kept = {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()}
    others = {f"store/{own}", "store/.other." + "0a" * 16}
    assert kept - others == {
        "store/.lock",
        "store/.hidden.npy",
        "store/shards/whole.npy",
        "run/first",
    }
    assert others <= kept


def test_json_has_null_for_nan_so_that_every_reader_can_read_it(place: Folder):
    folder = place
    folder.write_json("x", {"a": [float("nan"), np.float64(1.5)], "b": np.array([1, 2])})
    assert folder.read_json("x") == {"a": [None, 1.5], "b": [1, 2]}


def test_a_pickle_in_an_npy_file_is_refused(tmp_path: Path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(StorageError, match="evil"):
        Folder(str(tmp_path)).read_npy("evil.npy")


def test_missing_and_truncated_files_are_named(place: Folder):
    folder = place
    with pytest.raises(StorageError, match="cannot read .*nothing"):
        folder.read_bytes("nothing")
    folder.write_npy("x.npy", np.zeros(100))
    whole = folder.read_bytes("x.npy")
    folder.write_bytes("x.npy", whole[:200])
    with pytest.raises(StorageError, match=r"x\.npy"):
        folder.read_npy("x.npy")


def test_relative_places_start_at_the_home_or_here_and_never_in_a_folder_that_ray_deletes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RAYSYS_HOME", str(tmp_path))
    assert resolve_folder("runs").uri == str(tmp_path / "runs")
    assert resolve_folder("/abs").uri == "/abs"
    monkeypatch.delenv("RAYSYS_HOME")
    monkeypatch.chdir(tmp_path)
    assert resolve_folder("runs").uri == str(tmp_path / "runs")
    unpacked = tmp_path / "working_dir_files" / "job"
    unpacked.mkdir(parents=True)
    monkeypatch.chdir(unpacked)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert resolve_folder("runs").uri == str(tmp_path / "me" / "raysys" / "runs")


def test_an_unknown_kind_of_storage_is_refused():
    with pytest.raises(StorageError, match="neither an absolute path nor a known URI"):
        resolve_folder("ftp9://somewhere/runs")


def test_a_folder_is_held_by_one_process_until_that_ends_even_by_kill(tmp_path: Path):
    script = (
        "import sys, time\n"
        "from raysys.storage import Folder\n"
        "with Folder(sys.argv[1]).held():\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(StorageError, match=f"another command is writing to {tmp_path}"),
            Folder(str(tmp_path)).held(),
        ):
            pass
    finally:
        holder.kill()
        holder.wait()
    with Folder(str(tmp_path)).held():
        pass
