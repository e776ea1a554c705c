"""One fold: deterministic, resumable, blind to its test part; and what is fitted is fitted on train."""

import copy
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score, recall_score

from raysys.batches.batch import fit_normaliser, make_part
from raysys.batches.normalise import Normaliser, by_speaker
from raysys.config import Config
from raysys.corpus.folds import Fold
from raysys.encoders.ragged import Ragged
from raysys.errors import ConfigError, FoldFailedError
from raysys.losses import LossConfig
from raysys.models.multiemo import MultiemoConfig
from raysys.predictions import read_predictions
from raysys.similarity.prior import SimilarityPrior
from raysys.storage import Folder
from raysys.tasks.baseline import pool_over_time
from raysys.tasks.class_targets import ClassTargets
from raysys.tasks.classification import Classification, score_classes
from raysys.training.fold import read_result, run_fold, train_fold
from raysys.training.optimizer import Adam, Group
from raysys.training.parts import FoldData
from raysys.training.records import EpochRecord, FoldTask
from tests.conftest import with_training

N, CLASSES = 60, 3
TASK = Classification(("calm", "joy", "rage"))


def arrays(seed: int = 0) -> FoldData:
    """Sixty utterances whose class shows in audio and text, buried in noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(N) % CLASSES

    def ragged(dim: int) -> Ragged:
        lengths = random.integers(3, 12, size=N)
        values = random.normal(size=(lengths.sum(), dim))
        values[:, 0] += np.repeat(labels, lengths) * 1.5
        return Ragged.of(values.astype(np.float16), np.array(lengths))

    votes = np.zeros((N, CLASSES), dtype=np.int64)
    features = {"audio": ragged(5), "text": ragged(4)}
    targets = ClassTargets(labels, votes, np.zeros(len(labels)))
    return FoldData(TASK, features, {}, targets, (FOLD,))


FOLD = Fold(0, np.arange(0, 36), np.arange(36, 48), np.arange(48, 60))
TARGETS = np.eye(CLASSES, dtype=np.float32)[np.arange(N) % CLASSES]


def dialogue_arrays() -> FoldData:
    """The same utterances in dialogues of four turns and two speakers."""
    rows = np.arange(N)
    places = np.stack([rows // 4, rows % 4, rows % 2], axis=1).astype(np.int64)
    return replace(arrays(), places=places)


def multiemo(config: Config, **changes: object) -> Config:
    sizes = MultiemoConfig(dim=8, state=6, layers=1, heads=2, feedforward=12)
    model = replace(config.model, name="multiemo", multiemo=sizes)
    return with_training(replace(config, model=model), batch_size=3, **changes)


def task(config: Config, folder: Path) -> FoldTask:
    return FoldTask("t", 0, config, str(folder))


def go_on(record: object) -> bool:
    return True


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(small: Config, tmp_path: Path):
    first = run_fold(task(small, tmp_path / "a"), arrays(), go_on)
    second = run_fold(task(small, tmp_path / "b"), arrays(), go_on)
    other = run_fold(task(replace(small, seed=1), tmp_path / "c"), arrays(), go_on)
    losses = [[record.train_loss for record in r.history] for r in (first, second, other)]
    assert losses[0] == losses[1] != losses[2]
    weights = [(tmp_path / n / "weights.safetensors").read_bytes() for n in "ab"]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("keep, lr_schedule", [("best", "constant"), ("last", "cosine")])
def test_stopping_and_resuming_equals_going_on(
    small: Config, tmp_path: Path, keep: str, lr_schedule: str
):
    schedule = {"keep": keep, "lr_schedule": lr_schedule}
    config = with_training(
        small, max_epochs=6, patience=6, checkpoint_every=2, mask_time=0.3, **schedule
    )
    whole = run_fold(task(config, tmp_path / "whole"), arrays(), go_on)
    stopped = run_fold(task(config, tmp_path / "halves"), arrays(), lambda record: record.epoch < 3)
    assert stopped.stopped
    assert stopped.epochs == 3
    assert not (tmp_path / "halves" / "test_embeddings.npy").exists()
    seen: list[int] = []
    resumed = run_fold(
        task(config, tmp_path / "halves"),
        arrays(),
        lambda record: seen.append(record.epoch) or True,
    )
    assert seen == [1, 2, 3, 4, 5, 6]  # three from the checkpoint
    assert [r.train_loss for r in resumed.history] == [r.train_loss for r in whole.history]
    for name in ("weights.safetensors", "test_embeddings.npy", "test_probabilities.npy"):
        assert (tmp_path / "halves" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "halves" / "checkpoint.safetensors").exists()


def test_training_cannot_see_the_test_part(small: Config, tmp_path: Path):
    clean, poisoned = arrays(), arrays()
    for ragged in poisoned.features.values():
        ragged.shards[0][ragged.starts[48] :] = np.nan
    labels = poisoned.targets.labels.copy()
    labels[48:] = 0
    poisoned = replace(poisoned, targets=replace(poisoned.targets, labels=labels))
    first = run_fold(task(small, tmp_path / "a"), clean, go_on)
    second = run_fold(task(small, tmp_path / "b"), poisoned, go_on)
    assert [r.val for r in first.history] == [r.val for r in second.history]
    weights = [(tmp_path / n / "weights.safetensors").read_bytes() for n in "ab"]
    assert weights[0] == weights[1]
    assert np.isnan(read_predictions(Folder(str(tmp_path / "b")), TASK.stored).embeddings).any()


def test_a_part_holds_its_own_utterances_and_no_others():
    data = arrays()
    part = make_part(
        data.features,
        FOLD.val,
        labels=data.targets.labels,
        targets=TARGETS,
        normalisers={},
        device="cpu",
    )
    lengths = data.features["audio"].lengths[FOLD.val]
    assert len(part.frames["audio"]) == lengths.sum()
    batch = part.batch(torch.tensor([3, 0]))
    expected = data.features["audio"][39].astype(np.float32)
    np.testing.assert_array_equal(batch.modalities["audio"].values[0, : len(expected)], expected)
    assert batch.modalities["audio"].mask.sum(dim=1).tolist() == [lengths[3], lengths[0]]
    assert (batch.modalities["audio"].values[~batch.modalities["audio"].mask] == 0).all()


def test_shuffled_batches_hold_every_utterance_once_and_differ_between_epochs():
    data = arrays()
    part = make_part(
        data.features,
        FOLD.train,
        labels=data.targets.labels,
        targets=TARGETS,
        normalisers={},
        device="cpu",
    )
    orders = []
    for seed in (1, 1, 2):
        shuffle = torch.Generator().manual_seed(seed)
        orders.append(torch.cat([b.rows for b in part.batches(5, shuffle=shuffle)]).tolist())
        assert sorted(orders[-1]) == list(range(36))
    assert orders[0] == orders[1] != orders[2]


def test_the_normaliser_is_fitted_on_train_alone():
    ragged = arrays().features["audio"]
    normaliser = fit_normaliser(ragged, FOLD.train)
    frames = np.asarray(ragged.shards[0][: ragged.starts[36]], dtype=np.float64)
    np.testing.assert_allclose(normaliser.mean, frames.mean(axis=0), rtol=1e-5)
    changed = ragged.shards[0].copy()
    changed[ragged.starts[36] :] *= 9
    again = fit_normaliser(Ragged.of(changed, ragged.lengths), FOLD.train)
    np.testing.assert_array_equal(again.std, normaliser.std)


def test_frames_that_are_not_resident_train_to_the_same_bits(small: Config, tmp_path: Path):
    config = with_training(small, mask_time=0.3)
    run_fold(task(config, tmp_path / "resident"), arrays(), go_on)
    run_fold(task(with_training(config, resident_gb=0.0), tmp_path / "disk"), arrays(), go_on)
    for name in ("weights.safetensors", "test_probabilities.npy"):
        kept = [(tmp_path / place / name).read_bytes() for place in ("resident", "disk")]
        assert kept[0] == kept[1]


def test_mixtures_of_frames_on_disk_are_those_of_resident_ones():
    data, share = arrays(), torch.tensor([0.8, 0.3])
    batches = []
    for limit in (math.inf, 0.0):
        part = make_part(
            data.features,
            FOLD.train,
            labels=data.targets.labels,
            targets=TARGETS,
            normalisers={"audio": fit_normaliser(data.features["audio"], FOLD.train)},
            device="cpu",
            resident_gb=limit,
        )
        assert part.dims == {"audio": 5, "text": 4}
        mixed = part.with_mixtures(torch.tensor([1, 2]), torch.tensor([5, 4]), share)
        batches.append(mixed.batch(torch.tensor([3, 36, 37])))
    for modality in data.features:
        one, other = (batch.modalities[modality] for batch in batches)
        assert torch.equal(one.values, other.values)
        assert torch.equal(one.mask, other.mask)


def test_speaker_normalisation_uses_each_speakers_own_frames():
    ragged = arrays().features["audio"]
    speakers = [f"s{k % 4}" for k in range(N)]
    normal = by_speaker(ragged, speakers)
    for speaker in "s0", "s3":
        own = np.concatenate([normal[k] for k in range(N) if speakers[k] == speaker]).astype(float)
        np.testing.assert_allclose(own.mean(axis=0), 0, atol=5e-3)
        np.testing.assert_allclose(own.std(axis=0), 1, atol=5e-3)
    few = normal.take([7, 4])
    assert np.array_equal(few[0], normal[7]) and np.array_equal(few[1], normal[4])
    assert Normaliser.fit([np.ones((5, 2))]).std.tolist() == [1, 1]


def test_the_best_epoch_is_kept_and_patience_ends_training(small: Config, tmp_path: Path):
    config = with_training(small, max_epochs=40, patience=3, select="loss", learning_rate=0.05)
    result = run_fold(task(config, tmp_path), arrays(), go_on)
    losses = [record.val["loss"] for record in result.history]
    assert result.best_epoch == int(np.argmin(losses)) + 1
    assert result.epochs == result.best_epoch + 3 < 40
    assert result.val["loss"] == min(losses)


def test_the_last_epoch_is_kept_where_none_is_to_be_chosen(small: Config, tmp_path: Path):
    chosen = with_training(small, max_epochs=12, patience=12, select="loss", learning_rate=0.05)
    best = run_fold(task(chosen, tmp_path / "best"), arrays(), go_on)
    last = run_fold(
        task(with_training(chosen, keep="last", patience=1), tmp_path / "last"), arrays(), go_on
    )
    assert best.best_epoch < last.best_epoch == last.epochs == 12
    assert [one.val for one in last.history] == [one.val for one in best.history]
    assert last.val == last.history[-1].val
    weights = [load_file(tmp_path / name / "weights.safetensors") for name in ("best", "last")]
    assert any(not torch.equal(one, weights[1][name]) for name, one in weights[0].items())


def test_a_finished_fold_is_not_trained_again(small: Config, tmp_path: Path):
    first = run_fold(task(small, tmp_path), arrays(), go_on)
    again = run_fold(task(small, tmp_path), arrays(seed=9), go_on)
    assert again == first == read_result(Folder(str(tmp_path)))


def test_a_loss_that_is_not_finite_ends_the_fold(small: Config, tmp_path: Path):
    config = with_training(small, learning_rate=1e30, gradient_clip=0.0)
    with pytest.raises(FoldFailedError, match="training loss is nan"):
        run_fold(task(config, tmp_path), arrays(), go_on)


@pytest.mark.parametrize("place", [3, 40, 0.5, -5, None])
def test_a_fold_with_a_damaged_checkpoint_is_trained_again_to_the_same_bits(
    small: Config, tmp_path: Path, place: float | None
):
    whole = run_fold(task(small, tmp_path / "whole"), arrays(), go_on)
    run_fold(task(small, tmp_path / "cut"), arrays(), lambda record: record.epoch < 2)
    file = tmp_path / "cut" / "checkpoint.safetensors"
    content = bytearray(file.read_bytes())
    if place is None:
        content = bytearray(b"12345678 nonsense")
    else:
        content[int(place * len(content)) if place == 0.5 else int(place)] ^= 1
    file.write_bytes(bytes(content))
    again = run_fold(task(small, tmp_path / "cut"), arrays(), go_on)
    assert "checkpoint.safetensors is damaged" in again.redone
    assert whole.redone == ""
    name = "weights.safetensors"
    assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "fold.json", "bundle.json", "weights.safetensors", "test_embeddings.npy", "test_probabilities.npy",
        "test_labels.npy",
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["flip", "empty", "cut", "zero", "gone", "other JSON"])
def test_a_finished_fold_of_which_something_is_damaged_is_trained_again(
    small: Config, tmp_path: Path, name: str, how: str
):
    first = run_fold(task(small, tmp_path), arrays(), go_on)
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    file, content = tmp_path / name, files[name]
    # In a name: the last digit of a number may be read as the same number.
    middle = content.index(b'"epochs"') + 3 if name == "fold.json" else len(content) // 2
    damaged = {
        "flip": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "empty": b"",
        "cut": content[:-9],
        "zero": bytes(len(content)),
        "gone": None,
        "other JSON": b'{"epochs": []}',
    }[how]
    file.unlink() if damaged is None else file.write_bytes(damaged)
    again = run_fold(task(small, tmp_path), arrays(), go_on)
    assert bool(again.redone) == (name != "fold.json" or how != "gone")
    assert [r.val for r in again.history] == [r.val for r in first.history]
    for one in ("weights.safetensors", "test_embeddings.npy", "test_probabilities.npy"):
        assert (tmp_path / one).read_bytes() == files[one]
    assert read_result(Folder(str(tmp_path))) is not None


def test_train_fold_takes_train_and_val_only():
    parameters = train_fold.__annotations__
    assert {"train", "val"} <= set(parameters)
    assert not [name for name in parameters if "test" in name or name == "arrays"]


def test_class_weights_and_the_emotion_aware_term_reach_the_loss(small: Config, tmp_path: Path):
    data = arrays()
    labels = np.where(np.arange(N) % 6 == 0, 0, np.arange(N) % 2 + 1)  # class 0 is rare
    data = replace(data, targets=replace(data.targets, labels=labels))
    plain = run_fold(task(small, tmp_path / "plain"), data, go_on)
    for name, setting in {"class_weights": True, "omega": 1.0}.items():
        config = replace(small, loss=replace(small.loss, **{name: setting}))
        prior = SimilarityPrior(np.eye(CLASSES).tolist()) if name == "omega" else None
        other = run_fold(replace(task(config, tmp_path / name), prior=prior), data, go_on)
        assert other.history[0].train_loss != plain.history[0].train_loss
        assert other.history[0].train_loss > plain.history[0].train_loss or name != "omega"


def test_the_weights_of_training_are_those_of_its_train_part():
    data = arrays()
    labels = np.where(np.arange(N) < 30, 0, data.targets.labels)  # train: class 0 is frequent
    part = make_part(
        data.features, FOLD.train, labels=labels, targets=TARGETS, normalisers={}, device="cpu"
    )
    made = TASK.objective(LossConfig(class_weights=True), part, {}, prior=None, label_smoothing=0.0)
    counts = np.bincount(labels[FOLD.train], minlength=CLASSES)
    expected = torch.tensor(36 / (CLASSES * counts)).float()
    torch.testing.assert_close(made.main.class_weights, expected)


def test_metrics_equal_scikit_learns_to_the_bit():
    random = np.random.default_rng(0)
    for _ in range(200):
        count, classes = int(random.integers(1, 90)), int(random.integers(2, 9))
        labels = random.integers(0, classes, count)
        predicted = np.where(random.random(count) < 0.6, labels, random.integers(0, 9, count))
        options = {"labels": np.unique(labels), "zero_division": 0}
        recalls = recall_score(labels, predicted, average=None, **options)
        assert score_classes(labels, predicted) == {
            "wa": accuracy_score(labels, predicted),
            "ua": recalls.mean(),
            "weighted_f1": f1_score(labels, predicted, average="weighted", **options),
            "macro_f1": pytest.approx(f1_score(labels, predicted, average="macro"), abs=1e-15),
            "worst_recall": recalls.min(),
        }


def test_adam_is_torchs_to_the_bit_and_resumes_to_the_bit():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.Linear(5, 3), torch.nn.Linear(3, 3))
    twin = copy.deepcopy(model)
    fast, slow = list(model[:2].parameters()), list(model[2].parameters())
    ours = Adam([Group(fast, 0.01), Group(slow, 0.001)], weight_decay=1e-4)
    theirs = torch.optim.Adam(
        [{"params": twin[:2].parameters()}, {"params": twin[2].parameters(), "lr": 0.001}],
        lr=0.01,
        weight_decay=1e-4,
    )
    for step in range(20):
        if step == 9:  # as from a checkpoint
            known, ours = ours.state, Adam(ours.groups, weight_decay=1e-4)
            ours.load(known)
        for rate, group, others in zip((0.02, 0.002), ours.groups, theirs.param_groups):
            group.learning_rate = others["lr"] = rate / (1 + step)
        inputs = torch.randn(4, 7)
        for net, optimizer in ((model, ours), (twin, theirs)):
            optimizer.zero_grad()
            used = net(inputs) if step % 3 else net[:2](inputs)  # the last layer without gradient
            used.square().sum().backward()
            optimizer.step()
        for one, other in zip(model.parameters(), twin.parameters()):
            assert torch.equal(one, other)
    with pytest.raises(ValueError, match="belongs to another model"):
        ours.load(
            {0: {"exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(2), "step": torch.zeros(())}}
        )


def test_a_worker_loads_neither_torchs_compiler_nor_scikit_learn():
    program = (
        "import sys, torch; from raysys.training.fold import run_fold; "
        "from raysys.training.optimizer import Adam, Group; from raysys.tasks.classification import score_classes; "
        "import numpy as np; w = torch.nn.Parameter(torch.ones(2)); "
        "a = Adam([Group([w], 0.1)], 0.0); w.sum().backward(); a.step(); "
        "score_classes(np.array([0, 1]), np.array([1, 1])); "
        "print(sorted({'torch._dynamo', 'sklearn', 'scipy.stats', 'matplotlib', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_features_are_pooled_over_time():
    data = arrays()
    pooled = pool_over_time(data.features)
    assert pooled.values.shape == (N, 4 * (5 + 4))
    frames = data.features["text"][7].astype(np.float32)
    np.testing.assert_allclose(pooled.values[7, 20:24], frames.mean(axis=0), rtol=1e-5)
    assert pooled.kinds.tolist() == [0] * 5 + [1] * 5 + [2] * 10 + [0] * 4 + [1] * 4 + [2] * 8
    np.testing.assert_allclose(pooled.of("mean")[7, 5:], frames.mean(axis=0), rtol=1e-5)


def test_a_dialogue_model_stops_and_resumes_like_any_other(small: Config, tmp_path: Path):
    config = multiemo(small, max_epochs=4, patience=4, checkpoint_every=2)
    data = dialogue_arrays()
    whole = run_fold(task(config, tmp_path / "whole"), data, go_on)
    run_fold(task(config, tmp_path / "halves"), data, lambda record: record.epoch < 2)
    resumed = run_fold(task(config, tmp_path / "halves"), data, go_on)
    assert [r.train_loss for r in resumed.history] == [r.train_loss for r in whole.history]
    for name in ("weights.safetensors", "test_embeddings.npy", "test_probabilities.npy"):
        assert (tmp_path / "halves" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    stored = read_predictions(Folder(str(tmp_path / "whole")), TASK.stored)
    assert stored.truth.tolist() == (np.arange(48, 60) % CLASSES).tolist()  # in the part's order


def test_a_dialogue_model_takes_mixtures_and_all_three_losses(small: Config, tmp_path: Path):
    config = multiemo(small, max_epochs=2)
    loss = replace(config.loss, mu1=0.2, mu2=0.1)
    balance = replace(config.balance, method="uniform", n=15)
    result = run_fold(
        task(replace(config, loss=loss, balance=balance), tmp_path / "a"), dialogue_arrays(), go_on
    )
    plain = run_fold(task(config, tmp_path / "b"), dialogue_arrays(), go_on)
    assert np.isfinite(result.history[-1].train_loss)
    assert result.history[0].train_loss != plain.history[0].train_loss


def test_a_dialogue_model_refuses_folds_that_tear_dialogues(small: Config):
    from raysys.running.plan import make_plan

    config = replace(small, folds=replace(small.folds, groups="speaker"))
    with pytest.raises(ConfigError, match="reads whole dialogues, but .* is in two parts"):
        make_plan(multiemo(config))


def test_epochs_of_an_earlier_command_take_no_time_in_this_one(small: Config, tmp_path: Path):
    told: list[tuple[int, float]] = []

    def hear(record: EpochRecord) -> bool:
        told.append((record.epoch, record.seconds))
        return record.epoch != 2

    config = with_training(small, max_epochs=4, patience=4)
    run_fold(task(config, tmp_path), arrays(), hear)
    assert all(seconds > 0 for _, seconds in told)
    told.clear()
    run_fold(task(config, tmp_path), arrays(), lambda r: hear(r) or True)
    assert [epoch for epoch, seconds in told if seconds == 0] == [1, 2]
    told.clear()
    finished = run_fold(task(config, tmp_path), arrays(), lambda r: hear(r) or True)
    assert told == [(epoch, 0.0) for epoch in (1, 2, 3, 4)]
    assert all(record.seconds > 0 for record in finished.history)
