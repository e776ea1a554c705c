"""What pip installs of a built wheel, into an environment of its own: it has its presets, and runs the demo."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from raysys.presets import find_preset, presets_folder

ROOT = Path(__file__).resolve().parents[2]


def call(*command: str, folder: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAYSYS", "PYTHON"))}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.proof("jobs", "commandline")
def test_a_wheel_in_an_empty_environment_runs_the_demo(tmp_path: Path):
    """Its dependencies are those of this environment, by a path; raysys itself comes from the wheel alone."""
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    elsewhere.mkdir()
    source.mkdir()
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.split(b"\0")
    for name in map(os.fsdecode, filter(None, files)):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip"]
    call(
        *pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", ".", ".", folder=source
    )
    (wheel,) = source.glob("raysys-*.whl")
    call(sys.executable, "-m", "venv", "--without-pip", "empty", folder=tmp_path)
    python = tmp_path / "empty" / "bin" / "python"
    call(
        *pip,
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        str(wheel),
        folder=elsewhere,
    )
    packages = next((tmp_path / "empty" / "lib").glob("python*/site-packages"))
    (packages / "rest.pth").write_text(sysconfig.get_path("purelib"))
    where = "import raysys, raysys.presets as p; print(raysys.__file__, p.presets_folder())"
    assert call(str(python), "-c", where, folder=elsewhere).count(str(tmp_path / "empty")) == 2
    raysys = str(python.with_name("raysys"))
    assert "cross_validate" in call(raysys, folder=elsewhere)
    few = ["--training.max_epochs", "1", "--corpus.demo.utterances", "150"]
    said = call(raysys, "cross_validate", "demo", *few, folder=elsewhere)
    assert "test UA" in said
    assert (elsewhere / "runs" / "demo" / "result.json").is_file()


def test_a_preset_is_found_by_its_name_where_no_file_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    demo = presets_folder() / "demo.yaml"
    for name in ("configs/demo.yaml", "demo.yaml", "demo"):
        assert find_preset(Path(name)) == demo
    study = presets_folder() / "studies" / "demo_svm.yaml"
    assert find_preset(Path("configs/studies/demo_svm.yaml")) == study
    (tmp_path / "demo.yaml").write_text("seed: 1\n")
    assert find_preset(Path("demo.yaml")) == Path("demo.yaml")  # the user's own comes first
    for name in ("nothing.yaml", "/configs/demo.yaml"):
        assert find_preset(Path(name)) == Path(name)
