"""SVM and logistic regression as models: what scikit-learn says, kept as arrays; and the probe."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import raysys
from raysys.batches.padded import Padded
from raysys.commands.cross_validate import cross_validate
from raysys.config import Config
from raysys.encoders.ragged import Ragged
from raysys.errors import ConfigError
from raysys.models.fitted import Fitted, make_machine, make_regression
from raysys.models.logistic import LogisticConfig
from raysys.models.probe import ProbeConfig
from raysys.models.svm import SvmConfig
from raysys.report.results import TrialResult
from raysys.settings import replaced
from raysys.tasks.baseline import pool_over_time
from tests.here import do_folds_here, tiny

DIMS = {"audio": 6, "text": 5}


def utterances(
    count: int, n_classes: int, seed: int = 0
) -> tuple[dict[str, list[Any]], np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % n_classes
    frames = {
        m: [
            (random.normal(size=(random.integers(2, 12), dim)) + 0.4 * label).astype(np.float32)
            for label in labels
        ]
        for m, dim in DIMS.items()
    }
    return frames, labels


def batches(frames: Mapping[str, list[Any]], size: int = 16) -> list[dict[str, Padded]]:
    found = []
    count = len(frames["audio"])
    for start in range(0, count, size):
        batch = {}
        for name, every in frames.items():
            rows = [torch.from_numpy(one) for one in every[start : start + size]]
            values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            lengths = torch.tensor([len(one) for one in rows])
            batch[name] = Padded(values, torch.arange(values.shape[1]) < lengths[:, None])
        found.append(batch)
    return found


SETTINGS = [
    SvmConfig(c=c, kernel=kernel, statistics=statistics)
    for c, kernel, statistics in (
        (1.0, "rbf", "mean_std"),
        (10.0, "linear", "mean"),
        (0.1, "rbf", "mean_std_quantiles"),
    )
] + [LogisticConfig(c=c, statistics="mean_std") for c in (0.01, 1.0)]


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_it_says_what_scikit_learn_says_of_new_utterances(
    settings: SvmConfig | LogisticConfig, n_classes: int, tmp_path: Path
):
    known, labels = utterances(120, n_classes)
    new, _ = utterances(80, n_classes, seed=1)
    model = settings.build(("audio", "text"), dims=DIMS, n_outputs=n_classes)
    model.fit(batches(known), torch.from_numpy(labels))
    again = settings.build(("audio", "text"), dims=DIMS, n_outputs=n_classes)
    again.load_state_dict(model.state_dict())
    with torch.inference_mode():
        logits = torch.cat([again(batch, None).logits for batch in batches(new)]).numpy()
    kinds = {"mean": 1, "mean_std": 2, "mean_std_quantiles": 3}[settings.statistics]
    columns = [
        pooled.values[:, pooled.kinds < kinds]
        for pooled in (pool_over_time(known), pool_over_time(new))
    ]
    own = (
        make_machine(settings.kernel, settings.c, columns[0].shape[1])
        if isinstance(settings, SvmConfig)
        else make_regression(settings.c)
    )
    fitted = make_pipeline(StandardScaler(), own).fit(columns[0].astype(np.float64), labels)
    expected = fitted.decision_function(columns[1].astype(np.float64))
    if n_classes == 2:
        assert ((logits[:, 1] > logits[:, 0]) == (expected > 0)).all()
        if isinstance(settings, LogisticConfig):
            np.testing.assert_allclose(logits[:, 1] - logits[:, 0], expected, atol=1e-4)
        return
    np.testing.assert_allclose(logits, expected, atol=1e-3)  # pooled in 32 bits there
    predicted = fitted.predict(columns[1].astype(np.float64))
    assert (logits.argmax(axis=1) == predicted).mean() > 0.97  # ties of votes


def run(config: Config) -> TrialResult:
    return cross_validate(config, resume=None, console=Console(quiet=True))


@pytest.mark.parametrize("name", ["svm", "logistic"])
def test_with_the_baselines_settings_the_model_is_the_baseline(
    name: str, small: Config, monkeypatch: pytest.MonkeyPatch
):
    do_folds_here(monkeypatch)
    first = run(replaced(tiny(small), {"model.name": name, "name": "first"}))
    title = {"svm": "SVM", "logistic": "Logistic"}[name]
    chosen = next(one for one in first.baselines if (one.name, one.fitted_on) == (title, "train"))
    *kernel, rest = chosen.settings.removesuffix(" over time").split("C ")
    c, statistics = rest.split(", ", 1)
    values = {
        "model.name": name,
        f"model.{name}.c": float(c),
        f"model.{name}.statistics": statistics.replace(", ", "_"),
    }
    if name == "svm":
        values["model.svm.kernel"] = kernel[0].removesuffix(", ")
    second = run(replaced(tiny(small), values))
    for metric, mean in chosen.mean.items():
        assert second.mean["test"][metric] == pytest.approx(mean, abs=0.01)
    assert all(fold.epochs == 1 for fold in second.folds)
    assert any(finding.kind == "fitted_at_once" for finding in second.audit)
    assert second.cost is not None
    assert second.cost.parameters > 100


def test_a_kept_svm_predicts_what_the_run_predicted(small: Config, monkeypatch: pytest.MonkeyPatch):
    do_folds_here(monkeypatch)
    config = replaced(tiny(small), {"model.name": "svm"})
    run(config)
    folder = Path(config.storage.runs) / "small/fold_0"
    predictor = raysys.load(folder)
    assert isinstance(predictor.bundle.model, Fitted)
    random = np.random.default_rng(0)
    frames = {
        name: [random.normal(size=(7, dim)).astype(np.float32) for _ in range(9)]
        for name, dim in predictor.bundle.dims.items()
    }
    lengths = np.full(9, 7)
    said = predictor.predict(
        {name: Ragged.of(np.concatenate(every), lengths) for name, every in frames.items()}
    )
    assert said.outputs.shape == (9, len(predictor.outputs))
    np.testing.assert_allclose(said.outputs.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"balance.method": "pdds"}, "balance.method is 'pdds', but must be off with svm"),
        ({"model.svm.c": 0.0}, "model.svm.c is 0.0"),
    ],
)
def test_what_a_fitted_model_cannot_take_part_in_is_refused(values: dict[str, Any], told: str):
    with pytest.raises(ConfigError, match=told):
        replaced(Config(), {"model.name": "svm", **values})


def test_a_probe_weighs_layers_and_pools_means_and_deviations():
    model = ProbeConfig(audio_layers=3).build(("audio", "text"), dims=DIMS, n_outputs=4)
    frames, _ = utterances(5, 4)
    (batch,) = batches(frames)
    with torch.no_grad():
        model.layers["audio"].copy_(torch.tensor([0.0, 1.0, 2.0]))
        output = model(batch, None)
    weights = np.exp([0.0, 1.0, 2.0]) / np.exp([0.0, 1.0, 2.0]).sum()
    for k in range(5):
        mixed = (frames["audio"][k].reshape(-1, 3, 2) * weights[:, None]).sum(axis=1)
        expected = np.concatenate([mixed.mean(axis=0), np.sqrt(mixed.var(axis=0) + 1e-5)])
        np.testing.assert_allclose(output.vectors["audio"][k], expected, atol=1e-5)
    assert output.embedding.shape == (5, 2 * 2 + 2 * 5)


def test_a_probe_must_weigh_as_many_layers_as_its_encoder_gives():
    features = {
        "features.audio": "audio_transformers",
        "features.audio_transformers.layers": (1, 2, 3),
    }
    values = {"model.name": "probe", **features}
    with pytest.raises(ConfigError, match="model.probe.audio_layers is 1, but must be 3"):
        replaced(replace(Config()), values)
    assert (
        replaced(Config(), {**values, "model.probe.audio_layers": 3}).model.probe.audio_layers == 3
    )
    with pytest.raises(
        ConfigError, match="model.probe.audio_layers is 4, but audio features are 6"
    ):
        ProbeConfig(audio_layers=4).build(("audio",), dims=DIMS, n_outputs=4)
