"""What `ray job submit --working-dir .` would send to the cluster: code and presets, no data, runs or environments."""

import logging
import shutil
import zipfile
from pathlib import Path

from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

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
    assert package.stat().st_size < 2e6
