"""Folds that one process trains together: what is done at once, and that each has what it would have alone."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raysys import together
from raysys.config import Config
from raysys.errors import ConfigError, FoldFailedError
from raysys.models.dialogue_rnn import DialogueRnn, read_dialogues
from raysys.models.multiemo import MultiemoConfig
from raysys.settings import replaced
from raysys.together import alone, is_seated, jointly, seated
from raysys.training.fold import run_fold, run_fold_together
from raysys.training.records import EpochRecord, FoldResult, FoldTask
from tests.gpu.test_device import arrays, config_of, go_on
from tests.side_by_side import all_at_once

parties: list[int] = []
"""Parts that `doubled` was given, call by call."""


@pytest.fixture(autouse=True)
def no_parties() -> None:
    parties.clear()


def doubled(values: Sequence[float]) -> list[float]:
    parties.append(len(values))
    return [2 * value for value in values]


def refused(values: Sequence[float]) -> list[float]:
    raise FoldFailedError(f"{len(values)} refused")


def test_without_company_a_work_is_done_at_once_for_one():
    assert jointly(doubled, 2.0, like="x") == 4.0
    with seated():
        assert is_seated()
        assert jointly(doubled, 3.0, like="x") == 6.0
    assert not is_seated()
    assert parties == [1, 1]


def test_what_all_come_to_is_done_once_and_each_gets_its_own():
    def fold(value: float) -> list[float]:
        return [jointly(doubled, value + k, like="x") for k in range(3)]

    found = all_at_once(*(partial(fold, 10.0 * k) for k in range(4)))
    assert found == [[2 * (10 * k + j) for j in range(3)] for k in range(4)]
    assert parties == [4, 4, 4]


def test_what_differs_is_done_apart_and_whoever_has_less_to_do_leaves():
    def fold(value: float, times: int, like: str) -> float:
        return sum(jointly(doubled, value, like=like) for _ in range(times))

    found = all_at_once(
        partial(fold, 1.0, 3, "x"), partial(fold, 2.0, 1, "x"), partial(fold, 3.0, 2, "y")
    )
    assert found == [6.0, 4.0, 12.0]
    assert sorted(parties) == [1, 1, 1, 1, 2]


def test_gradients_on_and_off_are_not_mixed():
    def fold(recorded: bool) -> float:
        with torch.set_grad_enabled(recorded):
            return jointly(doubled, 1.0, like="x")

    assert all_at_once(partial(fold, True), partial(fold, False)) == [2.0, 2.0]
    assert parties == [1, 1]


def test_an_error_is_each_ones_own_and_the_others_go_on():
    def fold(value: float) -> str:
        try:
            jointly(refused, value, like="x")
        except FoldFailedError as error:
            return f"{error}, {jointly(doubled, value, like='y'):g}"
        return ""

    assert all_at_once(partial(fold, 1.0), partial(fold, 2.0)) == ["2 refused, 2", "2 refused, 4"]
    assert parties == [2]


def test_nobody_waits_for_ever_for_what_more_can_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(together, "_PATIENCE", 5)
    order: list[str] = []

    def fold(name: str, times: int) -> None:
        for _ in range(times):
            jointly(doubled, 1.0, like=name)
            order.append(name)

    all_at_once(partial(fold, "rare", 1), partial(fold, "x", 20), partial(fold, "x", 20))
    assert 0 < order.index("rare") < 20


def test_inside_alone_no_other_ones_turn_comes():
    seen: list[str] = []

    def measured() -> None:
        with alone():
            assert not is_seated()
            seen.append("begun")
            jointly(doubled, 1.0, like="x")
            seen.append("ended")

    all_at_once(measured, lambda: seen.append("other"))
    assert seen.index("ended") == seen.index("begun") + 1


def test_random_numbers_are_those_of_a_fold_alone():
    def fold(seed: int) -> list[float]:
        torch.manual_seed(seed)
        drawn = []
        for _ in range(3):
            drawn.append(float(torch.rand(())))
            jointly(doubled, 1.0, like="x")
        return drawn

    assert all_at_once(*(partial(fold, seed) for seed in range(3))) == [fold(k) for k in range(3)]


def one_network(seed: int, dropout: float) -> tuple[DialogueRnn, Tensor, Tensor]:
    """A network and its dialogues: as many of them, as long and with as many speakers as the seed says."""
    torch.manual_seed(seed)
    rnn = DialogueRnn(2 + seed % 2, dim=4, state=3, dropout=dropout)
    inputs = torch.randn(2 + seed % 2, 1 + seed, 3 + 2 * seed, 4)
    return rnn, inputs, torch.randint(0, 2 + seed, inputs.shape[:3])


def read(seed: int, dropout: float, *, training: bool = True) -> dict[str, Tensor]:
    """States of a network, and its gradients."""
    rnn, inputs, speakers = one_network(seed, dropout)
    rnn.train(training)
    states = read_dialogues(rnn, inputs, speakers, n_parties=None)
    (states * torch.linspace(-1, 1, states.numel()).reshape(states.shape)).sum().backward()
    gradients = {name: one.grad for name, one in rnn.named_parameters() if one.grad is not None}
    return {"states": states.detach(), **gradients}


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("training", [True, False])
def test_dialogues_of_several_folds_are_read_as_by_each_alone(
    dropout: float, training: bool, monkeypatch: pytest.MonkeyPatch
):
    """Of any number of streams, dialogues, turns and speakers; the same values are dropped."""
    reads = []
    own = DialogueRnn.forward
    monkeypatch.setattr(
        DialogueRnn, "forward", lambda *given, **named: (reads.append(1), own(*given, **named))[1]
    )
    seeds = range(4)
    # Gradients are taken one by one, so that the loop's own must be kept.
    found = all_at_once(*(partial(states_of, k, dropout, training=training) for k in seeds))
    assert len(reads) == 1
    for seed, states in zip(seeds, found, strict=True):
        expected = read(seed, dropout, training=training)["states"]
        torch.testing.assert_close(states, expected, atol=1e-6, rtol=1e-5)


def states_of(seed: int, dropout: float, *, training: bool) -> Tensor:
    rnn, inputs, speakers = one_network(seed, dropout)
    with torch.no_grad():
        return read_dialogues(rnn.train(training), inputs, speakers, n_parties=None)


def multiemo(**more: Any) -> Config:
    sizes = MultiemoConfig(dim=8, state=6, layers=1, heads=2, feedforward=12, dropout=0.2)
    return config_of(
        "multiemo", **{"model.multiemo": sizes, "training.max_epochs": 6, "training.device": "cpu"}
        | more,
    )  # fmt: skip


def tasks(folder: Path, *configs: Config) -> list[FoldTask]:
    return [
        FoldTask(f"t{k}", 0, config, str(folder / str(k)), seed=config.seed)
        for k, config in enumerate(configs)
    ]


def trained_together(several: Sequence[FoldTask]) -> list[FoldResult]:
    data = arrays()
    works = [partial(run_fold, one, data, go_on) for one in several]
    return all_at_once(*works)


def assert_as_alone(ours: FoldResult, alone_: FoldResult) -> None:
    """Scores and losses within 1e-5 after a whole training; the same epoch is kept."""
    assert (ours.epochs, ours.best_epoch) == (alone_.epochs, alone_.best_epoch)
    for one, other in zip(ours.history, alone_.history, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-5)
        assert one.val == pytest.approx(other.val, abs=1e-5)
    for name in ("embeddings", "probabilities"):
        both = [np.load(Path(one.folder) / f"test_{name}.npy") for one in (ours, alone_)]
        np.testing.assert_allclose(*both, atol=1e-5)


def test_folds_trained_together_end_as_each_alone(tmp_path: Path):
    """Seeds, rates, lengths and batches of their own: each stops by its own scores."""
    configs = [
        multiemo(seed=0),
        multiemo(seed=1),
        multiemo(**{"seed": 2, "training.batch_size": 5}),
        multiemo(**{"seed": 3, "training.patience": 1, "training.learning_rate": 0.02}),
        multiemo(**{"seed": 4, "training.max_epochs": 3, "loss.mu1": 0.0, "loss.mu2": 0.0}),
    ]
    found = trained_together(tasks(tmp_path / "together", *configs))
    expected = [run_fold(one, arrays(), go_on) for one in tasks(tmp_path / "alone", *configs)]
    assert len({one.epochs for one in expected}) > 1
    for ours, theirs in zip(found, expected, strict=True):
        assert_as_alone(ours, theirs)


def test_a_fold_that_is_stopped_goes_on_together_with_others(tmp_path: Path):
    configs = [multiemo(seed=k) for k in range(2)]
    ours, theirs = tasks(tmp_path / "together", *configs), tasks(tmp_path / "alone", *configs)

    def stop(record: EpochRecord) -> bool:
        return record.epoch < 3

    stopped = run_fold(ours[0], arrays(), stop)
    assert stopped.stopped
    assert stopped.epochs == 3
    for one, other in zip(trained_together(ours), theirs, strict=True):
        assert_as_alone(one, run_fold(other, arrays(), go_on))


def test_a_fold_that_diverges_fails_alone(tmp_path: Path):
    configs = [multiemo(seed=0), multiemo(**{"seed": 1, "training.learning_rate": 1e30})]
    good, bad = tasks(tmp_path / "together", *configs)
    failed: list[str] = []

    def diverging() -> None:
        with pytest.raises(FoldFailedError) as caught:
            run_fold(bad, arrays(), go_on)
        failed.append(str(caught.value))

    found, _ = all_at_once(partial(run_fold, good, arrays(), go_on), diverging)
    assert "loss is" in failed[0]
    (theirs, _) = tasks(tmp_path / "alone", *configs)
    assert_as_alone(found, run_fold(theirs, arrays(), go_on))


def test_what_the_pool_calls_is_seated(tmp_path: Path):
    seen: list[bool] = []

    def look(record: EpochRecord) -> bool:
        seen.append(is_seated())
        return True

    run_fold_together(tasks(tmp_path, multiemo())[0], arrays(), look)
    assert set(seen) == {True}
    assert not is_seated()


def test_what_cannot_be_trained_together_says_why():
    with pytest.raises(
        ConfigError, match="cltnet gains nothing by it: its layers are few launches"
    ):
        config_of("cltnet", **{"training.together": 5})
    with pytest.raises(ConfigError, match="context names no modality that it reads"):
        replaced(multiemo(), {"training.together": 2, "model.multiemo.context": ("video",)})
    with pytest.raises(ConfigError, match=r"0\.2 or less, or auto, with training\.together 5"):
        multiemo(**{"training.together": 5, "cluster.gpus_per_fold": 1.0})
    for folds in range(2, 65):  # what the message names is taken
        for share in (1000 // folds / 1000, round(1 / folds, 3)):
            multiemo(**{"training.together": folds, "cluster.gpus_per_fold": share})
    with pytest.raises(ConfigError, match="svm gains nothing by it: it has no gradients"):
        config_of("svm", **{"training.together": 2, "loss.mu1": 0.0, "loss.mu2": 0.0})
    with pytest.raises(ConfigError, match=r"training\.together"):
        multiemo(**{"training.together": 0})
    kept = multiemo(**{"training.together": 5, "cluster.gpus_per_fold": 0.2})
    worker = kept.cluster.for_worker(5)
    assert (worker.gpus, worker.cpus_per_fold) == (1.0, kept.cluster.cpus_per_fold)
    assert replaced(kept, {"cluster.gpus_per_fold": "auto"}).cluster.gpus == 0
    assert replace(kept.cluster).for_worker(1) == kept.cluster
