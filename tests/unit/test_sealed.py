"""Files that tell whether they are what was written."""

import json
from pathlib import Path

import pytest

from raysys.errors import DamagedError, StorageError
from raysys.sealed import read_sealed, write_sealed
from raysys.storage import Folder


def test_what_was_written_is_read_also_from_the_copy(tmp_path: Path):
    folder = Folder(str(tmp_path))
    write_sealed(folder, "a.json", {"x": [1, 2.5]}, twice=True)
    (tmp_path / "a.json").write_text("[]")
    assert read_sealed(folder, "a.json") == {"x": [1, 2.5]}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda found: found.update(x=2), "a.json is damaged"),
        (lambda found: found.pop("sha256"), "an earlier raysys wrote it, or it is damaged"),
    ],
)
def test_what_is_not_is_named(spoil, message: str, tmp_path: Path):
    folder = Folder(str(tmp_path))
    write_sealed(folder, "a.json", {"x": 1})
    content = json.loads((tmp_path / "a.json").read_text())
    spoil(content)
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(DamagedError, match=message):
        read_sealed(folder, "a.json")


def test_no_file_is_no_damage(tmp_path: Path):
    with pytest.raises(StorageError, match="there is no such file"):
        read_sealed(Folder(str(tmp_path)), "a.json")
