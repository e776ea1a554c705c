"""S fed back: with the labels of two classes exchanged in a fold's test part alone, the S that the fold is given is the
same to the bit in the default way, and another one from test parts, where the result is marked."""

import csv
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from rich.console import Console

from raysys.commands.cross_validate import cross_validate
from raysys.config import Config
from raysys.corpus import CorpusConfig
from raysys.report.headline import headline
from raysys.report.results import TrialResult
from raysys.running.plan import make_plan
from raysys.settings import replaced
from raysys.similarity.prior import SimilarityPrior
from tests.here import do_folds_here, tiny

EMOTIONS = ("calm", "joy", "rage")


def manifest(folder: Path, *, exchanged: str = "") -> Path:
    """Five sessions of 36 texts; in one of them, joy may be called rage, and rage joy."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["utterance_id", "label", "text", "speaker", "session"])
        for session in "ABCDE":
            for k in range(36):
                label = EMOTIONS[k % 3]
                words = random.choice([f"{label}{n}" for n in range(4)], 3).tolist()
                words += random.choice([f"w{n}" for n in range(30)], 3).tolist()
                if session == exchanged:
                    label = {"joy": "rage", "rage": "joy"}.get(label, label)
                row = [f"{session}{k}", label, " ".join(words), f"{session}{k % 2}", session]
                table.writerow(row)
    return folder


def config_of(small: Config, home: Path, corpus: Path) -> Config:
    config = replace(
        tiny(small),
        name="fed",
        corpus=CorpusConfig(name="manifest", root=str(corpus)),
        model=replace(small.model, modalities=("text",)),
        storage=replace(small.storage, runs=str(home / "runs"), cache=str(home / "cache")),
    )
    return replaced(config, {"loss.mu2": 0.0})


def run(config: Config) -> TrialResult:
    return cross_validate(config, resume=None, console=Console(file=StringIO(), width=100))


def given(config: Config, **settings: object) -> np.ndarray:
    """S of every fold, from the run that the config has done."""
    run(config)
    source = MlflowClient(f"sqlite:///{config.storage.runs}/mlflow.db")
    (experiment,) = [one for one in source.search_experiments() if one.name != "Default"]
    (parent,) = [
        one
        for one in source.search_runs([experiment.experiment_id])
        if "mlflow.parentRunId" not in one.data.tags
    ]
    fed = {"loss.omega": 0.5, "loss.similarity": f"mlflow:{parent.info.run_id}", **settings}
    plan = make_plan(replaced(config, fed))
    assert plan.prior is not None
    return np.array([one.matrix for one in plan.prior if isinstance(one, SimilarityPrior)])


@pytest.mark.parametrize("of", ["val", "test"])
def test_exchanged_test_labels_change_no_bit_of_the_fold_s_own_s(
    of: str, small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    do_folds_here(monkeypatch)
    plain = config_of(small, tmp_path / "a", manifest(tmp_path / "plain"))
    changed = config_of(small, tmp_path / "b", manifest(tmp_path / "changed", exchanged="A"))
    before, after = (given(one, **{"loss.measured_on": of}) for one in (plain, changed))
    assert np.array_equal(before[0], after[0]) == (of == "val")
    assert not np.array_equal(before[1:], after[1:])  # where they are labels to learn from


def test_a_result_says_that_s_saw_test_labels(
    small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    do_folds_here(monkeypatch)
    config = config_of(small, tmp_path / "a", manifest(tmp_path / "plain"))
    first = run(config)
    bare = tmp_path / "s.npy"
    np.save(bare, np.array(first.summary.similarity["average"], dtype=float))
    source = {"loss.omega": 0.5, "loss.similarity": f"mlflow:{first.mlflow.run_id}"}
    client = MlflowClient(f"sqlite:///{config.storage.runs}/mlflow.db")
    for name, settings, marked in (
        ("val", source, False),
        ("test", {**source, "loss.measured_on": "test"}, True),
        ("bare", {**source, "loss.similarity": str(bare)}, True),
        # The same utterances, by another name.
        ("renamed", {**source, "loss.measured_on": "test", "corpus.name": "manifest"}, True),
    ):
        result = run(replaced(config, {"name": name, **settings}))
        kinds = {finding.kind for finding in result.audit}
        assert ("saw_test_labels" in kinds) == marked
        assert ("S saw test labels" in headline(result)) == marked
        tags = client.get_run(result.mlflow.run_id).data.tags
        assert tags.get("raysys.saw_test_labels") == ("true" if marked else None)
