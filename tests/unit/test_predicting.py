"""From new recordings and texts to what a run says of them."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
import pytest
import soundfile
from rich.console import Console

import raysys
from jobs.predict import main
from raysys.config import Config
from raysys.errors import ConfigError
from raysys.experiments.cross_validate import cross_validate
from raysys.experiments.tune import tune
from raysys.predicting.inputs import in_windows, read_inputs
from raysys.predicting.model import Model
from tests.here import do_folds_here, small_study, tiny


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, small_config: Callable[[Path], Config]
) -> Iterator[Config]:
    with pytest.MonkeyPatch.context() as patch:
        do_folds_here(patch)
        config = tiny(small_config(tmp_path_factory.mktemp("trained")))
        config = replace(config, training=replace(config.training, seeds=2, temperature=True))
        cross_validate(config, resume=None, console=Console(quiet=True))
        yield config


def run_of(config: Config, name: str = "small") -> str:
    return f"{config.storage.runs}/{name}"


def manifest(config: Config) -> Path:
    """Of the corpus that it was trained on."""
    for file in Path(config.storage.cache).glob("corpora/demo-*/manifest.csv"):
        if len(file.read_text(encoding="utf-8").splitlines()) == 151:
            return file
    raise AssertionError("no demo corpus of 150 utterances")


def model(config: Config) -> Model:
    found = raysys.load(run_of(config))
    assert isinstance(found, Model)
    return found


def test_of_corpus_utterances_it_says_what_the_fold_that_tested_them_said(trained: Config):
    found = model(trained).predict([str(manifest(trained))])
    stored = pyarrow.parquet.read_table(f"{run_of(trained)}/predictions.parquet").to_pylist()
    names = [name for name in stored[0] if name.startswith("p_")]
    expected: dict[str, list[np.ndarray]] = {}
    for row in stored:
        expected.setdefault(row["utterance"], []).append(np.array([row[n] for n in names]))
    assert set(found["utterance"]) == set(expected)
    assert set(found["members"]) == {2}  # of ten: the two seeds of its fold
    assert found["note"].str.startswith("in the training corpus: by folds").all()
    for _, row in found.iterrows():
        said = np.mean(expected[row["utterance"]], axis=0)
        np.testing.assert_allclose(row[names].to_numpy(float), said, atol=1e-5)


def test_a_new_recording_is_heard_by_all_folds_and_a_bad_one_costs_its_row(
    trained: Config, tmp_path: Path
):
    with manifest(trained).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:3]
    root, texts = manifest(trained).parent, []
    for k, row in enumerate(rows):
        samples, rate = soundfile.read(root / row["audio"])
        soundfile.write(tmp_path / f"{k}.wav", 0.5 * samples, rate)  # no one has heard it so
        texts.append(row["text"])
    soundfile.write(tmp_path / "silent.wav", np.zeros(4000), 16000)
    (tmp_path / "broken.wav").write_bytes(b"RIFFnothing")
    files = [str(tmp_path / f"{k}.wav") for k in range(3)]
    found = model(trained).predict(
        [*files, str(tmp_path / "silent.wav"), str(tmp_path / "broken.wav")],
        texts=[*texts, "a", "b"],
    )
    assert list(found["members"]) == [10, 10, 10, 0, 0]
    assert "is silent" in found["note"][3]
    assert "cannot decode" in found["note"][4]
    emotions = list(model(trained).outputs)
    shares = found[[f"p_{name}" for name in emotions]].to_numpy(float)
    np.testing.assert_allclose(shares[:3].sum(axis=1), 1, atol=1e-5)
    assert [emotions[k] for k in shares[:3].argmax(axis=1)] == list(found["emotion"][:3])
    doubtful = model(trained).predict(files, texts=texts, threshold=1.0)
    assert set(doubtful["emotion"]) == {"not sure"}


def test_a_study_speaks_by_its_choice_and_a_fold_by_itself(
    small: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    do_folds_here(monkeypatch)
    config = small_study(small)
    result = tune(config, resume=None, console=Console(quiet=True))
    found = raysys.load(run_of(config, "study"))
    assert isinstance(found, Model)
    folders = {one.bundle.config.loss.mu1 for one in found.ensemble.members}
    assert folders == {result.chosen.values.get("loss.mu1", 0.0)}
    args = [f"{run_of(config, 'study')}/trials/untuned/fold_0", str(manifest(config))]
    assert main(args) == 0
    assert "scores       WA" in capsys.readouterr().out


def test_the_command_writes_tables_and_pictures(
    trained: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    args = [run_of(trained), str(manifest(trained))]
    tables = []
    for ending in ("csv", "parquet", "jsonl"):
        out = tmp_path / f"found.{ending}"
        assert main([*args, "--out", str(out)]) == 0
        read = {
            "csv": lambda p: pyarrow.csv.read_csv(p),
            "parquet": pyarrow.parquet.read_table,
            "jsonl": lambda p: pyarrow.json.read_json(p),
        }[ending](out)
        tables.append(read)
    assert [one.num_rows for one in tables] == [150, 150, 150]
    for one in tables[1:]:
        np.testing.assert_allclose(one["confidence"], tables[0]["confidence"], atol=1e-6)
    capsys.readouterr()
    assert main([*args, "--window", "0.5", "--picture", str(tmp_path / "over_time.png")]) == 0
    assert (tmp_path / "over_time.png").stat().st_size > 5000


BAD: dict[str, tuple[list[str], str]] = {
    "no such run": (["nobody", "x.wav"], "is no run and no trained fold"),
    "no such file": (["{run}", "/nowhere/x.wav"], "is no file, folder or table"),
    "an empty folder": (["{run}", "{empty}"], "holds no audio files"),
    "no input": (["{run}"], "nothing to predict"),
    "no text": (["{run}", "{wav}"], "no row has text"),
    "no audio": (["{run}", "--text", "hello"], "no row has audio"),
    "texts that do not match": (["{run}", "{wav}", "--text", "a", "--text", "b"], "2 texts for 1"),
    "a fold that is not there": (["{run}", "{wav}", "--text", "a", "--fold", "9"], "--fold is 9"),
    "a threshold of 2": (["{run}", "{wav}", "--threshold", "2"], "--threshold is 2.0"),
    "an ending": (["{run}", "{wav}", "--text", "a", "--out", "x.xlsx"], "must end with .csv"),
    "a step alone": (["{run}", "{wav}", "--step", "1"], "go with --window"),
    "a window of 0": (["{run}", "{wav}", "--text", "a", "--window", "0"], "--window is 0.0"),
    "columns": (["{run}", "{wav}", "--columns", "audio"], "must be as {audio: file"),
    "a table without rows": (["{run}", "{table}"], "holds no rows"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_one_line(case: str, trained: Config, tmp_path: Path):
    given, told = BAD[case]
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.csv").write_text("audio,text\n")
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(size=8000) / 9, 16000)
    places = {
        "run": run_of(trained),
        "empty": tmp_path / "empty",
        "wav": tmp_path / "a.wav",
        "table": tmp_path / "none.csv",
    }
    arguments = [
        one.format(**places) if one.startswith("{") and one.endswith("}") else one for one in given
    ]
    with pytest.raises(Exception, match=told.replace("{", r"\{").replace(".", r"\.")) as caught:
        main([*arguments, "--runs", trained.storage.runs])
    assert type(caught.value).__module__ == "raysys.errors"


def test_inputs_are_named_apart_and_windows_cover_all(tmp_path: Path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "x.wav", np.ones(16000 * 7) * 0.1, 16000)
    rows = read_inputs([str(tmp_path / "a/x.wav"), str(tmp_path / "b/x.wav")])
    assert [row.utterance_id for row in rows] == ["x.wav (1)", "x.wav (2)"]
    assert len(read_inputs([str(tmp_path)])) == 2
    assert len(read_inputs([str(tmp_path / "*/x.wav")])) == 2
    cut, unheard = in_windows(rows[:1], seconds=3.0, step=1.5)
    assert [(row.start, row.end) for row in cut] == [(0, 3), (1.5, 4.5), (3, 6), (4, 7)]
    assert not unheard
    with pytest.raises(ConfigError, match="--step"):
        in_windows(rows, seconds=1.0, step=2.0)
