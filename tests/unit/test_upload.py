"""What `ray job submit --working-dir .` would send to the cluster: code and presets, no data, runs or environments."""

import logging
import shutil
import zipfile
from pathlib import Path

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

from jobs.check_upload import main
from raysys.cluster.upload import check_upload
from raysys.commandline import run_job

ROOT = Path(__file__).resolve().parents[2]
PLANTED = [
    "runs/demo/fold_0/weights.safetensors",
    "cache/features/00000.values.npy",
    ".venv/bin/python",
    "corpus/one.wav",
    "corpus/features.npz",
    "runs/mlflow.db",
    ".git/config",
]


def test_a_job_uploads_code_and_presets_alone(tmp_path: Path):
    tree = tmp_path / "tree"
    for part in ("raysys", "jobs", "configs", "tests"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".rayignore", ".gitignore", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tree / name)
    for name in PLANTED:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(bytes(1000))
    package = tmp_path / "package.zip"
    excludes = get_runtime_env_default_excludes()
    create_package(
        str(tree), package, include_gitignore=True, excludes=excludes, logger=logging.getLogger()
    )
    names = zipfile.ZipFile(package).namelist()
    kinds = {name.split("/")[0] for name in names if "/" in name}
    print(f"upload: {package.stat().st_size / 1e6:.2f} MB in {len(names)} files")
    assert kinds == {"raysys", "jobs", "configs"}
    assert "configs/demo.yaml" in names
    assert not set(PLANTED) & set(names)
    assert package.stat().st_size < 3e6


def test_what_is_too_large_to_upload_is_named_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "code.py").write_bytes(bytes(2000))
    with (tmp_path / "deep" / "er" / "model.weights").open("wb") as stream:
        stream.truncate(101 * 2**20)  # a hole: no byte is written
    assert run_job(main, [str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "leave out in" in said
    assert "deep/ (101.0 MiB); 101.0 MiB of it are *.weights" in said
    (tmp_path / ".rayignore").write_text("*.weights\n")
    assert run_job(main, [str(tmp_path)]) == 0
    assert capsys.readouterr().out == "2 files, 0.0 MiB\n"
    assert run_job(main, [str(tmp_path / "nothing")]) == 2


def test_it_counts_what_ray_packs(tmp_path: Path):
    package = tmp_path / "package.zip"
    create_package(
        str(ROOT / "configs"), package, include_gitignore=True, logger=logging.getLogger()
    )
    names = {name for name in zipfile.ZipFile(package).namelist() if not name.endswith("/")}
    assert {str(path) for path in check_upload(ROOT / "configs")} == names
