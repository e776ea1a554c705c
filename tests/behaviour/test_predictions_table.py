"""predictions.parquet: what a run says of every test utterance, from which its scores can be had again."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow.compute
import pyarrow.parquet
import pytest
from mlflow import MlflowClient
from rich.console import Console
from sklearn.metrics import recall_score

from raysys.commands.cross_validate import cross_validate
from raysys.commands.tune import tune
from raysys.config import Config
from raysys.errors import TrackingError
from raysys.predictions import Predictions
from raysys.report.results import StudyResult, TrialResult
from raysys.report.utterances import predictions_table
from raysys.settings import replaced
from raysys.storage import Folder
from raysys.tasks.classification import Classification
from tests.conftest import corpus_of, folds_of
from tests.here import do_folds_here, small_study, tiny


def ran(config: Config) -> tuple[TrialResult | StudyResult, str]:
    console = Console(file=StringIO(), width=120)
    job = tune if config.search.space else cross_validate
    return job(config, resume=None, console=console), console.file.getvalue()


def test_scores_can_be_had_again_from_the_table_of_a_run(
    small: Config, monkeypatch: pytest.MonkeyPatch
):
    do_folds_here(monkeypatch)
    config = replace(tiny(small), training=replace(tiny(small).training, seeds=2))
    result, _ = ran(config)
    table = pyarrow.parquet.read_table(Path(config.storage.runs) / "small/predictions.parquet")
    rows = table.to_pylist()
    assert len(rows) == 2 * 150
    assert len({row["utterance"] for row in rows}) == 150
    assert isinstance(result, TrialResult)
    for fold in result.folds:
        own = [row for row in rows if (row["seed"], row["fold"]) == (fold.seed, fold.fold)]
        truth, predicted = ([row[name] for row in own] for name in ("truth", "predicted"))
        found = recall_score(truth, predicted, average="macro", labels=sorted(set(truth)))
        assert found == pytest.approx(fold.test["ua"], abs=1e-12)
        assert np.mean([row["right"] for row in own]) == pytest.approx(fold.test["wa"], abs=1e-12)
    shares = [[row[name] for name in row if name.startswith("p_")] for row in rows]
    np.testing.assert_allclose(np.sum(shares, axis=1), 1, atol=1e-5)
    client = MlflowClient(f"sqlite:///{config.storage.runs}/mlflow.db")
    run = client.get_run(result.mlflow.run_id)
    (shown,) = json.loads(run.data.tags["mlflow.loggedArtifacts"])
    logged = json.loads(Path(client.download_artifacts(run.info.run_id, shown["path"])).read_text())
    assert logged["columns"] == table.column_names
    assert len(logged["data"]) == 300


def test_a_damaged_table_is_made_again(small: Config, monkeypatch: pytest.MonkeyPatch):
    do_folds_here(monkeypatch)
    config = tiny(small)
    ran(config)
    folder = Folder(str(Path(config.storage.runs) / "small"))
    whole = folder.read_bytes("predictions.parquet")
    folder.write_bytes("predictions.parquet", whole[:-9] + b"x" + whole[-8:])
    _, printed = ran(config)
    assert "is finished already" not in printed
    assert "predictions.parquet is damaged" in printed
    assert folder.read_bytes("predictions.parquet") == whole
    assert "is finished already" in ran(config)[1]


def test_a_study_has_that_of_its_choice(small: Config, monkeypatch: pytest.MonkeyPatch):
    do_folds_here(monkeypatch)
    config = small_study(small)
    result, _ = ran(config)
    table = pyarrow.parquet.read_table(Path(config.storage.runs) / "study/predictions.parquet")
    assert table.num_rows == 150
    assert isinstance(result, StudyResult)
    scores = []
    for fold in range(5):
        own = table.filter(pyarrow.compute.equal(table["fold"], fold))
        scores.append(np.mean(own["right"].to_pylist()))
    assert np.mean(scores) == pytest.approx(result.test.mean["wa"])


def test_a_column_that_some_folds_lack_is_a_column_of_all(small: Config, cache_root: Path):
    corpus = corpus_of(small, cache_root)
    rows = tuple(
        replace(row, metadata={"device": "phone"} if row.session == "S1" else None)
        for row in corpus.utterances
    )
    corpus, task = replace(corpus, utterances=rows), Classification(corpus.emotions)
    folds = folds_of(corpus, small.folds)
    opened = {}
    for fold in folds:
        shares = np.full((len(fold.test), len(corpus.emotions)), 0.1, dtype=np.float32)
        vectors = np.zeros((len(fold.test), 2), dtype=np.float32)
        opened[0, fold.index] = Predictions(vectors, shares, corpus.labels[fold.test])
    table = predictions_table(task, corpus, folds, opened).to_pylist()
    assert {row["metadata.device"] for row in table if row["session"] == "S1"} == {"phone"}
    assert {row["metadata.device"] for row in table if row["session"] != "S1"} == {None}


def test_a_dead_mlflow_is_said_before_features_are_extracted(small: Config, tmp_path: Path):
    storage = replace(small.storage, cache=str(tmp_path / "cache"))
    config = replaced(replace(small, storage=storage), {"tracking.uri": "http://127.0.0.1:9"})
    with pytest.raises(TrackingError, match="Connection refused"):
        cross_validate(config, resume=None, console=Console(file=StringIO()))
    assert not list(tmp_path.rglob("*.values.npy"))
