"""Bad input as a user meets it: one line on stderr, exit status 2, no traceback, nothing half-written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jobs.cross_validate import main
from jobs.prepare import main as prepare
from raysys.commandline import run_job

HEADER = "utterance_id,label,text,audio,speaker,dialogue_id,turn,video"
DIALOGUES = ["--model.name", "multiemo", "--folds.groups", "dialogue"]
PRETRAINED = ["--features.text", "transformers", "--features.transformers.model"]
HEARD = ["--features.audio", "audio_transformers", "--features.audio_transformers.model"]
SEES = [*DIALOGUES, "--model.modalities", "[text,video]"]


def make_corpus(root: Path, speakers: int = 6) -> None:
    """A sound little corpus: every speaker says both emotions, in a dialogue."""
    (root / "wav").mkdir(parents=True)
    (root / "video").mkdir()
    random = np.random.default_rng(0)
    rows = [HEADER]
    for speaker in range(speakers):
        for turn, label in enumerate(("calm", "joy")):
            name = f"{speaker}{label}"
            soundfile.write(root / "wav" / f"{name}.wav", 0.1 * random.standard_normal(4000), 16000)
            np.save(root / "video" / f"{name}.npy", random.standard_normal((3, 4)))
            told = f"{name},{label},i am {label},wav/{name}.wav,s{speaker}"
            rows.append(f"{told},d{speaker},{turn},video/{name}.npy")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")


def edit(old: str, new: str) -> Callable[[Path], None]:
    """Change the manifest."""

    def do(root: Path) -> None:
        text = (root / "manifest.csv").read_text()
        assert old in text
        (root / "manifest.csv").write_text(text.replace(old, new))

    return do


def in_sessions(root: Path) -> None:
    """A column more, in which the second turn of the first dialogue is elsewhere."""
    head, *rows = (root / "manifest.csv").read_text().splitlines()
    rows = [f"{row},{'b' if k == 1 else 'a'}" for k, row in enumerate(rows)]
    (root / "manifest.csv").write_text("\n".join([f"{head},session", *rows]) + "\n")


def audio(samples: np.ndarray, rate: int = 16000) -> Callable[[Path], None]:
    """Replace the first file."""
    return lambda root: soundfile.write(root / "wav/0calm.wav", samples, rate, subtype="FLOAT")


def video(array: np.ndarray) -> Callable[[Path], None]:
    """Replace the second file of video features."""
    return lambda root: np.save(root / "video/0joy.npy", array)


def beside(**arrays: np.ndarray) -> Callable[[Path], None]:
    """Features in a file beside the corpus."""
    return lambda root: np.savez(root.parent / "faces.npz", **arrays)


def few_speakers(root: Path) -> None:
    shutil.rmtree(root)
    make_corpus(root, speakers=4)


def nothing(root: Path) -> None:
    """The fault is on the command line."""


CASES: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "missing audio": (lambda root: (root / "wav/0calm.wav").unlink(), [], "does not exist"),
    "unreadable audio": (lambda root: (root / "wav/0calm.wav").write_bytes(b"no"), [], "cannot decode"),
    "low sample rate": (audio(0.1 * np.sin(np.arange(4000)), 8000), [], "has 8000 Hz, below"),
    "zero length": (audio(np.zeros(0)), [], "zero length"),
    "NaN in the audio": (audio(np.full(4000, np.nan)), [], "NaN"),
    "duplicate id": (edit("\n1calm,", "\n0calm,"), [], "manifest.csv:4: utterance_id '0calm' occurs twice"),
    "unknown emotion": (edit("0calm,calm", "0calm,clam"), ["--corpus.emotions", "[calm,joy]"], "did you mean 'calm'"),
    "class without utterance": (nothing, ["--corpus.emotions", "[calm,joy,rage]"], "'rage' has no utterance"),
    "empty text": (edit("i am calm,wav/0calm", " ,wav/0calm"), [], "the text is empty"),
    "no group": (edit("wav/0calm.wav,s0", "wav/0calm.wav,"), [], "'0calm' has no speaker"),
    "too few groups": (few_speakers, [], "4 speakers are fewer than 5 folds"),
    "path that leaves the root": (edit("wav/0calm.wav", "../0calm.wav"), [], "leaves the corpus root"),
    "config typo": (nothing, ["--training.bacth_size", "3"], "did you mean 'training.batch_size'"),
    "no seed": (nothing, ["--training.seeds", "0"], "training.seeds is 0, but must be 1 to 100"),
    "value out of range": (nothing, ["--folds.val_fraction", "0.9"], "must be in (0, 0.5]"),
    "unknown corpus": (nothing, ["--corpus.name", "emobd"], "unknown corpus 'emobd': did you mean 'emodb'"),
    "unknown model": (nothing, ["--model.name", "cltnett"], "unknown model 'cltnett': did you mean 'cltnet'"),
    "unknown encoder": (nothing, ["--features.text", "hased"], "unknown text encoder 'hased'"),
    "no prior matrix": (nothing, ["--loss.omega", "1", "--loss.similarity", "s.json"], "s.json is not a file"),
    "no folder of an encoder": (
        nothing, [*PRETRAINED, "/no/such/folder"],
        "cannot load features.transformers.model '/no/such/folder' (there is no such folder",
    ),
    "no folder of an audio encoder": (
        nothing, [*HEARD, "/no/such/folder"],
        "cannot load features.audio_transformers.model '/no/such/folder' (there is no such folder",
    ),
    "no layers": (nothing, ["--features.audio_transformers.layers", "[]"], "must be one or more, each once"),
    "nothing to pool": (nothing, ["--features.pool_frames", "0"], "features.pool_frames is 0, but must be 1 to 1000"),
    "no hub": (nothing, [*PRETRAINED, "nobody/none"], "cannot load features.transformers.model 'nobody/none' ("),
    "a turn is missing": (edit(",d0,1,", ",d0,2,"), DIALOGUES, "csv:3: dialogue 'd0' has a turn 2 but no turn 1"),
    "a turn comes twice": (edit(",d0,1,", ",d0,0,"), DIALOGUES, "manifest.csv:3: dialogue 'd0' has turn 0 twice"),
    "a turn below 0": (edit(",d0,1,", ",d0,-1,"), DIALOGUES, "manifest.csv:3: turn is -1"),
    "a dialogue in two sessions": (in_sessions, DIALOGUES, "csv:3: dialogue 'd0' is in session 'b', but its turn 0 is"),
    "nobody speaks": (edit(",s0,d0,1,", ",,d0,1,"), DIALOGUES, "csv:3: turn 1 of dialogue 'd0' has no speaker"),
    "torn dialogues": (nothing, ["--model.name", "multiemo", "--folds.groups", "session"], "corpus has no sessions"),
    "a row with too many fields": (edit("i am calm,wav/0", "i, am calm,wav/0"), [], "csv:2: the row does not have"),
    "no video": (edit("video/0joy.npy", ""), SEES, "manifest.csv:3: no video, but the model sees video"),
    "missing video": (edit("video/0joy", "video/9joy"), SEES, "does not exist"),
    "video of another width": (video(np.zeros((3, 5))), SEES, "'0joy' are 5 wide, those of '0calm' 4"),
    "video of no shape": (video(np.zeros((2, 3, 4))), SEES, "must be numbers [time, dim] or [dim]"),
    "video without frames": (video(np.zeros((0, 4))), SEES, "must be numbers [time, dim] or [dim]"),
    "video that is pickled": (video(np.array([{}], dtype=object)), SEES, "cannot be read: no plain array"),
    "video beyond float32": (video(np.full((3, 4), 1e39)), SEES, "hold 1e+39, beyond float32 (3.4e38)"),
    "damaged video": (lambda root: (root / "video/0joy.npy").write_bytes(b"no"), SEES, "'0joy' cannot be read"),
    "turns in milliseconds": (edit(",d0,1,", ",d0,1699999999999,"), DIALOGUES, "a turn 1699999999999 but no turn 1"),
    "a file without its encoder": (nothing, ["--features.precomputed.text", "a.npz"], "nowhere else (it is hashed)"),
    "NaN in the video": (video(np.full((3, 4), np.nan)), SEES, "features of utterance '0joy' hold NaN"),
    "too few in the file": (
        beside(**{"0calm": np.zeros(4)}), [*SEES, "--features.precomputed.video", "faces.npz"],
        "faces.npz lacks video features of '0joy'",
    ),
    "no file of features": (nothing, [*SEES, "--features.precomputed.video", "faces.npz"], "faces.npz is not a file"),
    "a file that is no npz": (
        nothing, [*SEES, "--features.precomputed.video", "corpus/manifest.csv"], "is not an .npz"
    ),
    "audio from nowhere": (nothing, ["--features.audio", "precomputed"], "features.precomputed.audio is ''"),
    "no such run": (nothing, ["--loss.omega", "1", "--loss.similarity", "mlflow:abc"], "has no averaged matrix"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_input_ends_with_one_line_and_status_2(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    spoil, flags, message = CASES[case]
    root, home = tmp_path / "corpus", tmp_path / "home"
    make_corpus(root)
    spoil(root)
    monkeypatch.setenv("RAYSYS_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    manifest = ["--corpus.name", "manifest", "--corpus.root", str(root)]
    status = run_job(main, [*manifest, *flags])
    printed = capsys.readouterr().err.strip()
    assert status == 2
    assert printed.startswith("error: ")
    assert message in printed
    assert len(printed.splitlines()) == 1
    left = {p for p in home.rglob("*") if p.is_file() and p.parent != home / "cache" / "audio"}
    # Whole stores of sound modalities, what was heard of sound files, and which ones were not.
    assert {p.name for p in left} - {"mlflow.db", ".mlflow.db.lock"} <= {
        "00000.values.npy",
        "00000.offsets.npy",
        "00000.failed.json",
        "00000.json",
        "features.json",
    }
    assert not (home / "runs" / "run").exists()


SPACES = {
    "unknown field": ('{"loss.mu3": {"low": 0, "high": 1}}', "unknown setting 'loss.mu3'"),
    "empty range": ('{"loss.mu1": {"low": 0.5, "high": 0.5}}', "low 0.5 must be below high 0.5"),
    "off the simplex": (
        '{"loss.mu1": {"low": 0.6, "high": 0.9}, "loss.mu2": {"low": 0.5, "high": 0.6}}',
        "mu1 + mu2 must be at most 1",
    ),
    "no distribution": ('{"loss.mu1": 3}', "setting: {low: A, high: B}"),
    "unknown word": ('{"loss.mu1": {"lo": 0, "high": 1}}', "'lo' is not accepted"),
    "empty": ("{}", "search.space is empty"),
}


@pytest.mark.parametrize("case", SPACES)
def test_a_wrong_space_ends_with_one_line_before_ray_starts(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from jobs.tune import main as tune

    space, message = SPACES[case]
    monkeypatch.setenv("RAYSYS_HOME", str(tmp_path))
    monkeypatch.setattr("ray.init", lambda *args, **options: pytest.fail("Ray was started"))
    status = run_job(tune, ["--search.space", space])
    printed = capsys.readouterr().err.strip()
    assert status == 2
    assert message in printed
    assert len(printed.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_study_refuses_what_would_do_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from jobs.tune import main as tune

    monkeypatch.setenv("RAYSYS_HOME", str(tmp_path))
    space = ["--search.space", '{"training.learning_rate": {"low": 0.001, "high": 0.01}}']
    for flags, message in (
        (["--search.rounds", "2"], "emotion-aware loss, which is off"),
        (
            ["--search.rounds", "2", "--loss.omega", "1", "--folds.method", "official"],
            "needs several folds",
        ),
        (["--search.grace_epochs", "30"], "training ends after 30 epochs"),
        (["--loss.mu1", "0.7", "--loss.mu2", "0.6"], "at most 1 - loss.mu1"),
        (["--model.modalities", "[audio]", "--loss.mu2", "0.2"], "with a single modality"),
    ):
        assert run_job(tune, [*space, *flags]) == 2
        printed = capsys.readouterr().err.strip()
        assert message in printed
        assert len(printed.splitlines()) == 1


def test_a_damaged_store_is_encoded_again_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    make_corpus(tmp_path / "corpus")
    monkeypatch.setenv("RAYSYS_HOME", str(tmp_path / "home"))
    manifest = ["--corpus.name", "manifest", "--corpus.root", str(tmp_path / "corpus")]
    assert run_job(prepare, manifest) == 0
    (values,) = (tmp_path / "home/cache/features").glob("manifest-audio-*/00000.values.npy")
    whole = values.read_bytes()
    values.write_bytes(whole[:-100])
    capsys.readouterr()
    assert run_job(prepare, manifest) == 0
    assert (
        f"{values} is damaged: it is not what was written: it was encoded again"
        in capsys.readouterr().out
    )
    assert values.read_bytes() == whole
    assert run_job(prepare, manifest) == 0
    assert "encoded again" not in capsys.readouterr().out


def test_skip_bad_goes_on_without_the_bad_utterance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    make_corpus(tmp_path / "corpus")
    (tmp_path / "corpus/wav/0calm.wav").unlink()
    monkeypatch.setenv("RAYSYS_HOME", str(tmp_path / "home"))
    manifest = ["--corpus.name", "manifest", "--corpus.root", str(tmp_path / "corpus")]
    assert run_job(prepare, [*manifest, "--corpus.skip_bad", "true"]) == 0
    printed = capsys.readouterr().out
    assert "11 utterances" in printed
    assert "left out  0calm" in printed


def test_an_utterance_that_cannot_be_read_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Films are decoded when they are encoded, hours after the corpus was checked."""
    make_corpus(tmp_path / "corpus")
    for k, row in enumerate((tmp_path / "corpus/video").glob("*.npy")):
        np.save(row, np.ones((k % 3 + 1, 4), dtype=np.float32))
    (tmp_path / "corpus/video/0calm.npy").write_bytes(b"no array")
    monkeypatch.setenv("RAYSYS_HOME", str(tmp_path / "home"))
    command = ["--corpus.name", "manifest", "--corpus.root", str(tmp_path / "corpus")]
    command += ["--model.modalities", "[text,video]"]
    assert run_job(prepare, command) == 2
    assert "'0calm' cannot be read" in capsys.readouterr().err
    for _ in range(2):  # extracted, then found
        assert run_job(prepare, [*command, "--corpus.skip_bad", "true"]) == 0
        printed = capsys.readouterr().out
        assert "11 utterances" in printed
        assert "left out  0calm: " in printed
    assert run_job(prepare, command) == 2
    assert "0calm.npy" in capsys.readouterr().err
