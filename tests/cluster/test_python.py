"""The commands as functions: what they return is what the commands store; the guide's page runs as it stands."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import raysys
from raysys.config import Config
from raysys.errors import ConfigError
from raysys.report.results import read_result
from raysys.storage import Folder

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "raysys" / "PYTHON.md"
pytestmark = pytest.mark.cluster


@pytest.mark.usefixtures("pool")
def test_a_function_returns_what_its_command_stores(
    small_config: Callable[[Path], Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    small = small_config(tmp_path)
    one = raysys.cross_validate(small, quiet=True, training__max_epochs=2)
    other = raysys.cross_validate(
        small, quiet=True, name="other", training__max_epochs=2, loss__mu1=0.3
    )
    assert "test UA" not in capsys.readouterr().out
    stored = read_result(Folder(str(tmp_path / "runs" / "small")))
    assert one.mean == stored.mean
    found = raysys.compare("small", "other", runs=tmp_path / "runs")
    assert found.runs == ("small", "other")
    gap = other.mean["test"]["ua"] - one.mean["test"]["ua"]
    assert found.differences["other"].mean == pytest.approx(gap)
    assert "other minus small" in str(found)
    again = raysys.cross_validate(small, quiet=True, resume=True, training__max_epochs=2)
    assert again.mean == one.mean


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"training__epochs": 3}, "unknown setting 'training.epochs'"),
        ({"training__max_epochs": "three"}, "training.max_epochs"),
        ({"loss__mu1": 3.0}, "loss.mu1"),
    ],
)
def test_settings_that_cannot_be_are_errors_with_the_remedy(settings: dict, said: str):
    with pytest.raises(ConfigError, match=said):
        raysys.cross_validate(Config(), quiet=True, **settings)
    with pytest.raises(ConfigError, match="preset nothing is not a file"):
        raysys.tune("nothing")


def test_a_config_is_not_changed_by_settings(
    small_config: Callable[[Path], Config], tmp_path: Path
):
    small = small_config(tmp_path)
    before = replace(small)
    with pytest.raises(ConfigError):
        raysys.ablate(small, quiet=True, loss__mu1=0.2)  # it has no variants
    assert small == before


@pytest.mark.proof("commands", "predicting")
def test_the_page_runs_as_it_stands(tmp_path: Path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = tmp_path / "page.py"
    body = "\n".join(f"    {line}" for block in blocks for line in block.splitlines())
    script.write_text(f'if __name__ == "__main__":\n{body}\n')
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "with_swfc minus demo: UA" in done.stdout
    assert "chosen:" in done.stdout
