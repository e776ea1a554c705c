"""A study's report in headless Chromium: no error, figures as in result.json, tables sort, lines answer to a brush."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from raysys.commands.tune import tune
from raysys.config import Config
from raysys.storage import Folder
from tests.here import do_folds_here, small_study

pytestmark = pytest.mark.proof("report")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
)
ACTS = """<script>
window.addEventListener("load", () => {
  const table = [...document.querySelectorAll("table")].find((one) => one.tHead.textContent.startsWith("trial"));
  const head = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === "val loss");
  const column = () => [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[head].textContent));
  const button = table.tHead.rows[0].cells[head].querySelector("button");
  button.click();
  const falling = column();
  button.click();
  const rising = column();
  const box = document.querySelector(".parallel svg"), field = box.querySelectorAll("rect.catch")[1];
  field.setPointerCapture = () => {};
  const size = box.getBoundingClientRect();
  const at = (kind, share) => field.dispatchEvent(new PointerEvent(kind, { clientY: size.top + share * size.height }));
  at("pointerdown", 0.05); at("pointermove", 0.35); at("pointerup", 0.35);
  const kept = [...box.querySelectorAll("path")].map((path) => !path.classList.contains("off"));
  box.querySelector("path").dispatchEvent(new MouseEvent("mouseenter"));
  const told = document.querySelector(".parallel p").textContent, wide = document.documentElement.scrollWidth;
  document.body.innerHTML = "<pre>" + JSON.stringify({ falling, rising, kept, told, wide }) + "</pre>";
});
</script>"""


def opened(page: Path, tmp_path: Path, *flags: str) -> tuple[str, list[str]]:
    """The document as the browser has it, and what its console says."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium here")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command: Sequence[str] = [CHROMIUM, *QUIET, profile, *flags, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_a_study_s_page_in_a_browser(
    small: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    do_folds_here(monkeypatch)
    study = small_study(small, num_trials=4)
    result = tune(study, resume=None, console=Console(quiet=True))
    folder = Folder(small.storage.runs) / "study"
    page = tmp_path / "page.html"
    page.write_bytes(folder.read_bytes("report.html"))
    document, said = opened(page, tmp_path)
    assert said == []
    mean = 100 * result.test.mean["ua"]
    assert f"{mean:.1f}" in document
    assert document.count('<path d="M') >= len(result.trials)  # drawn by the page's own script

    page.write_text(page.read_text().replace("</body>", f"{ACTS}</body>"))
    document, said = opened(page, tmp_path, "--window-size=390,800")
    assert said == []
    found = json.loads(re.findall(r"<pre>(.*?)</pre>", document, re.DOTALL)[-1])
    losses = [round(trial.scores["loss"], 3) for trial in result.trials]
    assert found["falling"] == sorted(losses, reverse=True)
    assert found["rising"] == sorted(losses)
    best = min(result.trials, key=lambda trial: trial.scores["loss"])
    kept = [
        trial.name for trial, is_kept in zip(result.trials, found["kept"], strict=True) if is_kept
    ]
    assert best.name in kept
    assert len(kept) < len(result.trials)
    assert found["told"].startswith(result.trials[0].name)
    assert found["wide"] <= 500  # of a phone, whose window Chromium makes no narrower
