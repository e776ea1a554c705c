"""Fine-tuning with a measured matrix: each fold goes on from its own earlier weights, and from no others."""

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
from rich.console import Console

from raysys.commands.cross_validate import cross_validate
from raysys.config import Config
from raysys.errors import ConfigError, StorageError
from raysys.report.results import TrialResult
from raysys.settings import replaced
from tests.here import do_folds_here, tiny


def run(config: Config) -> TrialResult:
    return cross_validate(config, resume=None, console=Console(quiet=True))


@pytest.fixture
def first(small: Config, monkeypatch: pytest.MonkeyPatch) -> Config:
    do_folds_here(monkeypatch)
    config = replace(tiny(small), training=replace(tiny(small).training, seeds=2))
    run(config)
    return config


def test_each_fold_and_seed_goes_on_from_its_own_weights(first: Config):
    still = {
        "training.max_epochs": 1,
        "training.learning_rate": 1e-12,
        "training.weight_decay": 0.0,
    }
    second = replaced(first, {"name": "second", "training.start_from": "small", **still})
    before, after = run(replaced(first, {"name": "small"})), run(second)
    for one, other in zip(before.folds, after.folds, strict=True):
        assert other.test == pytest.approx(one.test, abs=1e-6)
    runs = Path(first.storage.runs)
    for seed in (0, 1):
        for fold in range(len({one.fold for one in before.folds})):
            place = f"seed_{seed}/fold_{fold}/weights.safetensors"
            was, now = (safetensors.torch.load_file(runs / n / place) for n in ("small", "second"))
            for name, values in was.items():
                assert values.allclose(now[name], atol=1e-5), name


def test_the_measured_matrix_serves_for_fine_tuning_without_test_labels(first: Config):
    matrix = f"{first.storage.runs}/small/similarity/average.json"
    tuned = run(
        replaced(
            first,
            {
                "name": "tuned",
                "training.start_from": "small",
                "loss.omega": 1.0,
                "loss.similarity": matrix,
            },
        )
    )
    kinds = {finding.kind for finding in tuned.audit}
    assert "prior" in kinds
    assert "saw_test_labels" not in kinds


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"folds.groups": "speaker"}, "has other folds"),
        ({"folds.val_fraction": 0.5}, "has other folds"),
        ({"model.cltnet.dim": 24}, "model.cltnet is"),
        ({"model.modalities": ("audio",)}, "model.modalities is"),
        ({"seed": 5}, "must have these seeds"),
        ({"training.start_from": "nobody"}, "is no run"),
    ],
)
def test_other_folds_models_and_seeds_are_refused(
    first: Config, values: dict[str, object], told: str
):
    with pytest.raises(ConfigError, match=told):
        run(replaced(first, {"name": "second", "training.start_from": "small", **values}))


def test_damaged_weights_are_refused_and_other_ones_are_another_run(first: Config):
    second = replaced(first, {"name": "second", "training.start_from": "small"})
    run(second)
    assert sorted(path.name for path in Path(first.storage.runs).glob("second*")) == ["second"]
    weights = Path(first.storage.runs) / "small/seed_0/fold_0/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    with pytest.raises(StorageError, match="is damaged"):
        run(second)
