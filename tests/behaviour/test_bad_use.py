"""What is done with trained runs, done wrongly: one clear line each, and nothing left behind."""

import importlib
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysys.commandline import run_job
from raysys.config import Config

CASES: dict[str, tuple[str, str]] = {
    # What there is no run of
    "predict: no run": ("predict nobody {wav}", "is no run and no trained fold"),
    "predict: no folder": ("predict /nowhere/run {wav}", "is no run and no trained fold"),
    "predict: no MLflow run": ("predict runs:/0123 {wav}", "MLflow has no runs:/0123"),
    "predict: no registered model": ("predict models:/nobody@champion {wav}", "MLflow has no"),
    "predict: no version": ("predict models:/nobody/3 {wav}", "MLflow has no"),
    "predict: no logged model": ("predict models:/m-00000000000000000000000000000000 {wav}", "MLflow has no"),
    "predict: no latest": ("predict models:/nobody {wav}", "no registered model"),
    "compare: no run": ("compare small nobody", "is no run"),
    "compare: one run": ("compare small", "give two runs or more"),
    "compare: a page elsewhere": ("compare small plain --page /nowhere/x.html", "there is no folder"),
    "compare: a page of another kind": ("compare small plain --page x.pdf", "must end with .html"),
    "report: no run": ("report nobody", "is no run"),
    "report: another kind": ("report small --out x.pdf", "must end with .html, .md or .png"),
    "report: no folder": ("report small --out /nowhere/x.html", "there is no folder"),
    "register: no run": ("register nobody --name x", "is no run"),
    "register: a name with a slash": ("register small --name a/b", "must be a name without"),
    "register: an empty name": ("register small --name=", "must be a name without"),
    "register: no MLflow run": ("register runs:/0123 --name x", "MLflow has no"),
    "refit: no run": ("refit nobody --storage.runs {runs}", "is no run"),
    "refit: nothing": ("refit", "give the run"),
    "refit: another loss": ("refit small --storage.runs {runs} --loss.mu1 0.1", "is the run's own"),
    "refit: a refit": ("refit {empty} --storage.runs {runs}", "is no run"),
    "runs: show nobody": ("runs show nobody", "is no run"),
    "runs: remove nobody": ("runs rm nobody --yes", "is no run"),
    "runs: nobody to ask": ("runs rm small", "nobody is there to be asked"),
    "runs: export over something": ("runs export small {full}", "is not empty"),
    "serve: no run": ("serve nobody", "is no run"),
    "serve: a port in use": ("serve small --port {taken}", "is in use"),
    "serve: a port that is none": ("serve small --port 99999", "port is 99999"),
    "serve: no replicas": ("serve small --replicas 0", "replicas is 0"),
    "serve: nothing may be sent": ("serve small --max_megabytes 0", "max_megabytes is 0"),
    # What cannot be predicted
    "predict: a file that is not there": ("predict small /nowhere.wav --text a", "is no file, folder"),
    "predict: no text": ("predict small {wav}", "no row has text"),
    "predict: no audio": ("predict small --text a", "no row has audio"),
    "predict: an empty folder": ("predict small {empty} --text a", "holds no audio files"),
    "predict: a table without rows": ("predict small {table}", "holds no rows"),
    "predict: a column that is none": ("predict small {odd}", "no row has"),
    "predict: a fold that is not there": ("predict small {wav} --text a --fold 9", "--fold is 9"),
    "predict: a threshold of 2": ("predict small {wav} --text a --threshold 2", "threshold is 2.0"),
    "predict: a step alone": ("predict small {wav} --text a --step 1", "go with --window"),
    "predict: a window of 0": ("predict small {wav} --text a --window 0", "window is 0.0"),
    "predict: an Excel file": ("predict small {wav} --text a --out x.xlsx", "must end with .csv"),
    "predict: no folder for it": ("predict small {wav} --text a --out /nowhere/x.csv", "there is no folder"),
    "predict: workers for a terminal": ("predict small {wav} --text a --workers 2", "goes with --out"),
    "predict: no Whisper": ("predict small {wav} --transcribe {empty}", "--transcribe"),
    "predict: columns": ("predict small {wav} --columns audio", "must be as {audio: file"),
}  # fmt: skip
UNREADABLE = {
    "an empty file": (b"", "is empty (0 bytes)"),
    "no audio": (b"RIFFnothing", "cannot decode"),
    "a pointer of git-lfs": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
}


@pytest.fixture
def places(trained: Config, tmp_path: Path) -> Iterator[dict[str, str]]:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full/x").write_text("x")
    (tmp_path / "none.csv").write_text("audio,text\n")
    (tmp_path / "odd.csv").write_text("colour\nred\n")
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(size=8000) / 9, 16000)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield {
            "wav": str(tmp_path / "a.wav"),
            "empty": str(tmp_path / "empty"),
            "full": str(tmp_path / "full"),
            "table": str(tmp_path / "none.csv"),
            "odd": str(tmp_path / "odd.csv"),
            "runs": trained.storage.runs,
            "taken": str(taken.getsockname()[1]),
        }


@pytest.mark.parametrize("case", CASES)
def test_it_ends_with_one_line(
    case: str, places: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    line, told = CASES[case]
    verb, *arguments = line.split()
    given = [one.format(**places) if one[0] == "{" and one[-1] == "}" else one for one in arguments]
    if verb != "refit":
        given += ["--runs", places["runs"]]
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert run_job(importlib.import_module(f"jobs.{verb}").main, given) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1, said
    assert said[0].startswith("error: ")
    assert told in said[0]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_bad_file_costs_its_row_alone(
    case: str, places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    content, told = UNREADABLE[case]
    (tmp_path / "bad.wav").write_bytes(content)
    files = [places["wav"], str(tmp_path / "bad.wav")]
    texts = ["--text", "a", "--text", "b"]
    predict = importlib.import_module("jobs.predict").main
    assert predict(["small", *files, *texts, "--runs", places["runs"]]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "a.wav" in printed
    assert told in printed
