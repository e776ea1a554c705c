"""What every task must hold; a new one joins by its registry line."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysys.batches.batch import Part
from raysys.corpus.folds import Fold
from raysys.corpus.formats import EQUIVALENT, FORMATS, Format
from raysys.corpus.table import Corpus, Utterance
from raysys.losses import LossConfig
from raysys.models.output import ModelOutput
from raysys.predictions import Predictions
from raysys.report.pictures import draw
from raysys.report.results import parse_as, plain
from raysys.similarity.matrix import SimilarityConfig
from raysys.similarity.prior import Origin, SpacePrior
from raysys.storage import as_json
from raysys.tasks import TASKS, Task
from raysys.tasks.baseline import Baseline, Pooled
from raysys.tasks.exhibits import File
from tests.spaces import save_space

N = 60
FOLD = Fold(0, np.arange(36), np.arange(36, 48), np.arange(48, 60))


RATED = (Format("vad", ("valence", "arousal", "dominance")), FORMATS["plutchik8"])


def rated_corpus(emotions: tuple[str, ...]) -> Corpus:
    """Sixty items with ratings in two formats, which go together."""
    random = np.random.default_rng(4)
    targets = tuple(f"{one.name}.{name}" for one in RATED for name in one.variables)
    rows = []
    for k in range(N):
        level = random.uniform(0.1, 0.9, size=3)
        there = (random.uniform(size=8) < np.resize(level, 8)).astype(float)
        values = dict(zip(targets, [*level.tolist(), *there.tolist()], strict=True))
        rows.append(
            Utterance(f"u{k}", emotions[k % len(emotions)] if emotions else "", values=values)
        )
    more = {"formats": RATED, "targets": targets, "equivalent": EQUIVALENT}
    return Corpus("made", Path(), emotions, tuple(rows), ("",) * N, **more)


def corpus_for(name: str) -> Corpus:
    """Sixty utterances that say everything that any task asks for."""
    if name in ("label_mapping", "emotion_embedding"):
        return rated_corpus(("calm", "joy", "anger") if name == "emotion_embedding" else ())
    random = np.random.default_rng(3)
    rows = tuple(
        Utterance(
            f"u{k}",
            ("calm", "joy", "anger")[k % 3],
            speaker=f"s{k % 4}",
            values={"arousal": float(random.normal(3)), "valence": float(random.normal(-1, 4))},
        )
        for k in range(N)
    )
    targets = ("arousal", "valence") if "corpus.targets" in TASKS[name].needs else ()
    emotions = () if targets else ("calm", "joy", "anger")
    return Corpus("made", Path(), emotions, rows, ("",) * N, targets=targets)


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest, tmp_path: Path) -> Task:
    found = TASKS[request.param].of(corpus_for(request.param))
    return found.knowing([prior_of(tmp_path)]) if "loss.space" in found.needs else found


def prior_of(folder: Path) -> SpacePrior:
    """An emotion space that nobody has trained."""
    return SpacePrior(save_space(folder / "space", rated_corpus(())), "digest")


def part(task: Task, rows: np.ndarray) -> Part:
    taught, labels = task.teach(task.targets(corpus_for(task.name)), LossConfig())
    frames, offsets = {"text": torch.randn(len(rows), 2)}, {"text": torch.arange(len(rows) + 1)}
    return Part(frames, offsets, torch.tensor(taught[rows]), torch.tensor(labels[rows]))


def priors(task: Task, folder: Path) -> SpacePrior | None:
    """What its objective knows beforehand."""
    return prior_of(folder) if "loss.space" in task.needs else None


def taught(task: Task) -> LossConfig:
    """Ratings alone, where there are classes beside them, which are drawn independently here."""
    return (
        LossConfig(supervised=("vad", "plutchik8")) if "loss.space" in task.needs else LossConfig()
    )


def test_it_names_its_metrics_and_the_one_that_chooses(task: Task):
    names = [metric.name for metric in task.metrics]
    assert len(set(names)) == len(names)
    assert {task.main, "loss"} <= set(names)
    assert any(metric.in_tables for metric in task.metrics)
    assert task.outputs


def test_it_is_small_and_can_be_sent_anywhere(task: Task):
    assert pickle.loads(pickle.dumps(task)) == task
    assert len(pickle.dumps(task)) < 5000


def test_what_is_taught_has_a_row_an_utterance_and_a_column_an_output(task: Task):
    taught, labels = task.teach(task.targets(corpus_for(task.name)), LossConfig())
    assert taught.shape == (N, len(task.outputs))
    assert labels.shape == task.strata(corpus_for(task.name)).shape == (N,)
    assert not np.isinf(taught).any()
    assert not np.isnan(taught).all(axis=1).any(), "an utterance teaches nothing"
    task.check_folds([FOLD], corpus_for(task.name))


def test_the_truth_is_scored_perfectly_and_its_reverse_is_not(task: Task):
    data = part(task, FOLD.test)
    truth = task.truth(data)
    outputs = data.targets.numpy()
    best, worst = task.score(outputs, truth), task.score(outputs[::-1], truth)
    for metric in task.metrics:
        if metric.name != "loss":
            assert metric.worth(best[metric.name]) > metric.worth(worst[metric.name])
    assert set(best) | {"loss"} == {metric.name for metric in task.metrics}


def test_training_on_its_objective_brings_outputs_to_the_truth(task: Task, tmp_path: Path):
    torch.manual_seed(0)
    data = part(task, FOLD.train)
    prior = priors(task, tmp_path)
    fitted = task.fit(data, prior)
    objective = task.objective(taught(task), data, fitted, prior=prior, label_smoothing=0.0)
    logits = torch.zeros(len(data), task.width).add(torch.randn(())).requires_grad_()
    logits.data += 0.1 * torch.randn_like(logits)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    batch = data.batch(torch.arange(len(data)))
    for _ in range(400):
        loss = objective(ModelOutput(logits, torch.zeros(len(data), 1), {}), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    outputs = task.read(logits.detach(), fitted).numpy()
    scores = task.score(outputs, task.truth(data))
    assert scores.get(task.main, scores[task.metrics[0].name]) > 0.98


def test_its_validation_loss_does_not_depend_on_how_batches_are_made_up(task: Task, tmp_path: Path):
    data, prior = part(task, FOLD.val), priors(task, tmp_path)
    fitted = task.fit(data, prior)
    objective = task.objective(LossConfig(), data, fitted, prior=prior, label_smoothing=0.0)
    logits = torch.randn(len(data), task.width)

    def total(size: int) -> float:
        found = 0.0
        for rows in torch.arange(len(data)).split(size):
            output = ModelOutput(logits[rows], torch.zeros(len(rows), 1), {})
            found += float(objective.validate(output, data.batch(rows))) * len(rows)
        return found

    assert total(12) == pytest.approx(total(5), rel=1e-5)


def test_its_baselines_choose_without_the_test_part_and_fit_without_val(task: Task):
    random = np.random.default_rng(0)
    targets = task.targets(corpus_for(task.name))
    values, kinds = random.standard_normal((N, 8)), np.repeat([0, 1, 2, 2], 2)

    def baselines(spoilt: np.ndarray) -> dict[tuple[str, str], Baseline]:
        changed = values.copy()
        changed[spoilt] = 1e6
        pooled = Pooled(changed, kinds)
        found = task.baselines(pooled, targets, [FOLD], choose=task.metrics[0].name)
        assert found[0].name == task.baseline_name
        return {(one.name, one.fitted_on): one for one in found}

    whole = baselines(np.array([], dtype=int))
    for key, one in baselines(FOLD.test).items():
        assert one.settings == whole[key].settings
    for key, one in baselines(FOLD.val).items():
        if one.settings == whole[key].settings and one.fitted_on == "train":
            assert one.test == whole[key].test


def test_its_summary_is_plain_and_read_back_as_its_type(task: Task, tmp_path: Path):
    data = part(task, FOLD.test)
    truth = task.truth(data)
    outputs = data.targets.numpy().astype(np.float32)
    vectors = np.random.default_rng(0).standard_normal((len(truth), 4)).astype(np.float32)
    predictions = [Predictions(vectors, outputs, truth)]
    aggregation: Any = task.aggregation(SimilarityConfig(resamples=10), seed=0)
    aggregate = aggregation and aggregation.summarise({(0, 0): (vectors, truth)})
    summary = task.summary(predictions, ["a", "b"] * 6, aggregate)
    content = plain(summary)
    again = parse_as(task.summary_type, content, "summary")
    assert json.loads(as_json(plain(again))) == json.loads(as_json(content))
    assert [table.title for table in again.tables()]
    known = {f"{task.detail.name}/{name}" for name in task.outputs}
    assert set(summary.scores()) <= known
    assert len(summary.scores()) >= 2
    shown = task.show_summary(summary, predictions, "made")
    shown += task.show_aggregate(aggregate, Origin("made", (("u48",),)))
    assert shown
    for one in shown:
        if not isinstance(one, File):
            draw(one).savefig(tmp_path / Path(one.path).name)
        elif not isinstance(one.content, bytes):
            assert as_json(one.content)
