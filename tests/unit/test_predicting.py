"""From new recordings and texts to what a run says of them."""

import base64
import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
import pytest
import soundfile
from rich.console import Console

import raysys
from jobs.predict import main
from raysys.commandline import encoder_places
from raysys.commands.tune import tune
from raysys.config import Config
from raysys.corpus.table import Utterance
from raysys.encoders.transformers import TransformersConfig
from raysys.errors import ConfigError, FeatureError
from raysys.predicting import large
from raysys.predicting.inputs import in_windows, read_inputs
from raysys.predicting.members import Ensemble, Member, check_encoders
from raysys.predicting.model import Model
from raysys.predicting.transcribe import Transcriber, with_texts
from raysys.training.bundle import load_bundle, with_encoders
from tests.conftest import ROOT, SHARED
from tests.here import do_folds_here, small_study
from tests.pretrained import make_text_model


def run_of(config: Config, name: str = "small") -> str:
    return f"{config.storage.runs}/{name}"


def manifest(config: Config) -> Path:
    """Of the corpus that it was trained on."""
    for file in Path(config.storage.cache).glob("corpora/demo-*/manifest.csv"):
        if len(file.read_text(encoding="utf-8").splitlines()) == 151:
            return file
    raise AssertionError("no demo corpus of 150 utterances")


def manifest_rows(config: Config) -> list[dict[str, str]]:
    with manifest(config).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


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


def test_recordings_inside_a_table_are_heard_there(
    trained: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows, root = manifest_rows(trained)[:6], manifest(trained).parent
    cells = [
        {"audio": {"bytes": (root / row["audio"]).read_bytes(), "path": None}, "text": row["text"]}
        for row in rows
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(cells), tmp_path / "new.parquet")
    monkeypatch.chdir(tmp_path)
    found = model(trained).predict(["new.parquet"])
    files = model(trained).predict(
        [str(root / row["audio"]) for row in rows], texts=[row["text"] for row in rows]
    )
    names = [name for name in found.columns if name.startswith("p_")]
    assert (found["note"] == files["note"]).all()
    np.testing.assert_array_equal(found[names].to_numpy(), files[names].to_numpy())


def test_a_new_recording_is_heard_by_all_folds_and_a_bad_one_costs_its_row(
    trained: Config, tmp_path: Path
):
    rows = manifest_rows(trained)[:3]
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


def test_a_frame_holds_files_or_their_bytes(trained: Config):
    rows = manifest_rows(trained)[:3]
    root = manifest(trained).parent
    files = pandas.DataFrame(
        {"audio": [str(root / row["audio"]) for row in rows], "text": [row["text"] for row in rows]}
    )
    sounds = [base64.b64encode(Path(name).read_bytes()).decode() for name in files["audio"]]
    as_bytes = pandas.DataFrame({"audio_base64": sounds, "text": files["text"]})
    renamed = files.rename(columns={"audio": "file"})
    found = [
        model(trained).predict(files),
        model(trained).predict(as_bytes),
        model(trained).predict(renamed, columns={"audio": "file"}),
        model(trained).predict(list(files["audio"]), texts=list(files["text"])),
    ]
    columns = [f"p_{name}" for name in model(trained).outputs]
    for one in found[1:]:
        np.testing.assert_array_equal(one[columns], found[0][columns])
    assert list(found[1]["utterance"]) == ["row 1", "row 2", "row 3"]


def test_names_and_texts_come_from_standard_input(
    trained: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    rows = manifest_rows(trained)[:2]
    names = [str(manifest(trained).parent / row["audio"]) for row in rows]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(names) + "\n\n"))
    texts = [part for row in rows for part in ("--text", row["text"])]
    assert main([run_of(trained), "-", *texts]) == 0
    assert Path(names[1]).name in capsys.readouterr().out


def test_many_rows_go_on_where_they_were_left(
    trained: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(large, "AT_ONCE", 40)
    args = [run_of(trained), str(manifest(trained))]
    assert main([*args, "--out", str(tmp_path / "whole.csv")]) == 0
    done: list[int] = []
    real = large._tabled

    def ends_in_the_third(*given: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return real(*given)

    out = tmp_path / "found.csv"
    monkeypatch.setattr(large, "_tabled", ends_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        main([*args, "--out", str(out)])
    assert not out.exists()
    monkeypatch.setattr(large, "_tabled", real)
    asked: list[int] = []
    monkeypatch.setattr(
        large, "_tabled", lambda *given: asked.append(len(given[2])) or real(*given)
    )
    assert main([*args, "--out", str(out)]) == 0
    assert asked == [40, 30]  # of 40, 40, 40 and 30
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["found.csv", "whole.csv"]


def test_a_whisper_writes_down_what_has_no_text(tmp_path: Path):
    whisper = SHARED / "models/whisper-tiny-en"
    if not whisper.is_dir():
        pytest.skip(f"no Whisper at {whisper}")
    sounds = sorted((SHARED / "data/nemo/audio").glob("*.flac"))[:2]
    rows = [Utterance(file.name, audio=str(file)) for file in sounds]
    rows.append(Utterance("kept", text="as it is", audio=str(sounds[0])))
    rows.append(Utterance("gone", audio=str(tmp_path / "gone.wav")))
    found = list(with_texts(rows, Transcriber(str(whisper)), lambda count: None))
    assert [bool(row.text) for row in found] == [True, True, True, False]
    assert found[2].text == "as it is"
    with pytest.raises(ConfigError, match="--transcribe"):
        Transcriber(str(tmp_path))


BAD: dict[str, tuple[list[str], str]] = {
    "no such run": (["nobody", "x.wav"], "is no run and no trained fold"),
    "no such file": (["{run}", "/nowhere/x.wav"], "is no file, folder or table"),
    "an empty folder": (["{run}", "{empty}"], "holds no audio files"),
    "no input": (["{run}"], "nothing to predict"),
    "no text": (["{run}", "{wav}"], "no row has text"),
    "no audio": (["{run}", "--text", "hello"], "no row has audio"),
    "texts that do not match": (["{run}", "{wav}", "--text", "a", "--text", "b"], "2 texts for 1"),
    "a fold that is not there": (["{run}", "{wav}", "--text", "a", "--fold", "9"], "--fold is 9"),
    "a threshold of 2": (["{run}", "{wav}", "--threshold", "2"], "threshold is 2.0"),
    "an ending": (["{run}", "{wav}", "--text", "a", "--out", "x.xlsx"], "must end with .csv"),
    "a step alone": (["{run}", "{wav}", "--step", "1"], "go with --window"),
    "a window of 0": (["{run}", "{wav}", "--text", "a", "--window", "0"], "window is 0.0"),
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
    cut = in_windows(rows[:1], seconds=3.0, step=1.5)
    assert [(row.start, row.end) for row in cut] == [(0, 3), (1.5, 4.5), (3, 6), (4, 7)]
    with pytest.raises(ConfigError, match="--step"):
        in_windows(rows, seconds=1.0, step=2.0)


def test_what_the_guide_shows_works(
    trained: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    guide = (ROOT / "jobs" / "README.md").read_text(encoding="utf-8")
    [block] = [
        b for b in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "raysys.load" in b
    ]
    (tmp_path / "runs").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "runs/demo").symlink_to(run_of(trained))
    for name in ("a", "b"):
        samples = np.random.default_rng(0).normal(size=16000) / 20
        soundfile.write(tmp_path / f"new/{name}.wav", samples, 16000)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "jobs/README.md", "exec"), {})
    assert "a.wav" in capsys.readouterr().out


def test_encoders_that_have_moved_are_named(tmp_path: Path, trained: Config):
    place = make_text_model("bert", tmp_path / "now")
    features = replace(
        trained.features,
        text="transformers",
        transformers=TransformersConfig(model=str(tmp_path / "then")),
    )
    bundle = load_bundle(f"{run_of(trained)}/seed_0/fold_0")
    config = replace(bundle.config, features=features)
    ensemble = Ensemble("moved", (Member(0, 0, replace(bundle, config=config)),))
    with pytest.raises(FeatureError, match="elsewhere now: --encoder text=FOLDER"):
        _ = ensemble.encoders
    found = with_encoders(config, encoder_places([f"text={place}"]))
    ensemble = Ensemble("moved", (Member(0, 0, replace(bundle, config=found)),))
    assert "files" in ensemble.fingerprints["text"]
    with pytest.raises(ConfigError, match="whose encoder logmel has no files"):
        with_encoders(config, {"audio": str(place)})
    with pytest.raises(ConfigError, match="names video, but the run reads audio and text"):
        with_encoders(config, {"video": str(place)})
    with pytest.raises(ConfigError, match="must be as audio=FOLDER"):
        encoder_places(["text"])


def test_encoders_with_other_files_than_the_model_was_trained_above_are_refused():
    bundle = load_bundle(Path(__file__).parents[1] / "kept" / "cross_validation" / "fold_0")
    trained = {"encoder": "whisper", "files": {"model.safetensors": "1"}, "code": "old"}
    bundle = replace(bundle, encoders={"audio": {"pool_frames": 2, "of": trained}})
    newer = {**trained, "code": "new"}
    check_encoders(bundle, {"audio": {"pool_frames": 2, "of": newer}})
    other = {**newer, "files": {"model.safetensors": "2"}}
    with pytest.raises(FeatureError, match="the audio encoder at .* has other files than it had"):
        check_encoders(bundle, {"audio": {"pool_frames": 2, "of": other}})
