"""Label formats in one space: losses by hand, the frozen space, and content encoders that speak in it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import raysys
from raysys.batches.batch import Batch
from raysys.corpus.folds import Fold
from raysys.corpus.formats import FORMATS, Format, equivalents
from raysys.corpus.table import Corpus, Utterance
from raysys.encoders.ragged import Ragged
from raysys.errors import ConfigError, StorageError
from raysys.losses import LossConfig
from raysys.losses.emotion_embedding import EmotionEmbeddingLoss
from raysys.losses.label_mapping import LabelMappingLoss
from raysys.models.emotion_space import Answers, load_space
from raysys.models.output import ModelOutput
from raysys.sealed import write_sealed
from raysys.similarity.prior import SpacePrior
from raysys.storage import Folder
from raysys.tasks import TASKS
from raysys.training.fold import read_result, run_fold
from raysys.training.parts import FoldData
from raysys.training.records import EpochRecord, FoldResult, FoldTask
from tests.conftest import with_training
from tests.contracts.test_tasks import rated_corpus
from tests.spaces import save_space, space_config

TWO = (Format("a", ("x", "y")), Format("b", ("x",), "binary"))
NAN = float("nan")


def batch(targets: list[list[float]]) -> Batch:
    count = len(targets)
    return Batch(
        {}, torch.tensor(targets), torch.zeros(count, dtype=torch.long), torch.arange(count)
    )


def mapping_loss(**weights: float) -> LabelMappingLoss:
    return LabelMappingLoss(
        LossConfig(**weights), TWO, equivalents(TWO), torch.zeros(6), torch.ones(6)
    )


def test_each_part_of_the_mapping_loss_is_what_its_equation_says():
    # outputs: a from a (x, y), b from a, a from b (x, y), b from b
    logits = torch.tensor([[0.5, 0.0, 2.0, 1.0, 0.0, -1.0]])
    truth = batch([[0.0, 0.0, 1.0, 0.0, 0.0, 1.0]])
    vectors = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([[1.0, 0.0]])}
    weights = {"a": torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "b": torch.tensor([[1.0, 1.0]])}
    output = ModelOutput(logits, torch.zeros(1, 2), vectors, weights=weights)
    off = {"mapping": 0.0, "autoencoding": 0.0, "closeness": 0.0, "sharing": 0.0}
    from_a_to_b, from_b_to_a = math.log1p(math.exp(-2.0)), (1.0 + 0.0) / 2
    a_itself, b_itself = (0.25 + 0.0) / 2, math.log1p(math.exp(1.0))
    wanted = {"mapping": (from_a_to_b + from_b_to_a) / 2, "autoencoding": (a_itself + b_itself) / 2}
    for name, value in wanted.items():
        loss = mapping_loss(**{**off, name: 1.0})
        assert float(loss(output, truth)) == pytest.approx(value)
    autoencoding = wanted["autoencoding"]
    close = mapping_loss(**{**off, "autoencoding": 1.0, "closeness": 1.0})
    assert float(close(output, truth)) == pytest.approx(autoencoding + (0.0 + 4.0) / 2)
    shared = mapping_loss(**{**off, "autoencoding": 1.0, "sharing": 0.5})
    assert float(shared(output, truth)) == pytest.approx(
        autoencoding + 0.5 * (1 - 1 / math.sqrt(2))
    )
    assert float(mapping_loss().validation(output, truth)) == pytest.approx(wanted["mapping"])


def test_what_an_item_is_not_rated_in_has_no_part_in_its_loss():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, generator=random)
    only_a = [0.2, 0.4, NAN, NAN, NAN, NAN]
    both = [0.2, 0.4, 1.0, 0.2, 0.4, 1.0]
    loss = mapping_loss(closeness=0.0, sharing=0.0)
    together = float(loss(ModelOutput(logits, logits, {}), batch([both, only_a])))
    first = float(loss(ModelOutput(logits[:1], logits[:1], {}), batch([both])))
    second = ((logits[1, :2] - torch.tensor([0.2, 0.4])) ** 2).mean()
    assert together == pytest.approx((first + float(second)) / 2)


def test_all_of_a_mapping_cannot_be_off():
    with pytest.raises(ConfigError, match="loss.mapping is 0"):
        LossConfig(mapping=0.0, autoencoding=0.0)


@pytest.fixture
def space(tmp_path: Path) -> str:
    return save_space(tmp_path / "space", rated_corpus(()))


def test_the_space_maps_ratings_as_its_model_does_and_is_frozen(space: str):
    found = raysys.load_space(space)
    ratings = torch.rand(5, 3)
    mapped = found.map("vad", ratings)
    assert {name: tuple(one.shape) for name, one in mapped.items()} == {
        "vad": (5, 3),
        "plutchik8": (5, 8),
    }
    bundle = raysys.load(space).bundle
    logits = bundle.model.decoders["plutchik8"](bundle.model.encoders["vad"](ratings))
    torch.testing.assert_close(mapped["plutchik8"], logits.sigmoid().detach())
    assert not any(one.requires_grad for one in found.network.parameters())
    with pytest.raises(ConfigError, match="no format 'vda': did you mean 'vad'"):
        found.map("vda", ratings)
    alone = found.map("vad", ratings[0].tolist())
    torch.testing.assert_close(alone["plutchik8"], mapped["plutchik8"][:1])


@pytest.mark.parametrize(
    ("ratings", "said"),
    [
        ([[5.0, 5.0, 5.0]], r"in 0..1.*\(rating - low\) / \(high - low\)"),
        ([[0.5, float("nan"), 0.5]], "in 0..1"),
        ([0.5, 0.5], r"numbers \[item, 3\], in the order valence, arousal, dominance"),
        ([[0.5], [0.5, 0.5]], r"must be numbers \[item, variable\]"),
    ],
)
def test_ratings_that_cannot_be_mapped_are_refused(space: str, ratings: Any, said: str):
    with pytest.raises(ConfigError, match=said):
        raysys.load_space(space).map("vad", ratings)


def test_classes_lie_where_people_rate_their_names(space: str):
    found = load_space(Folder(space))
    anger = found.encode("vad", (torch.tensor([[2.50, 5.93, 5.14]]) - 1) / 8)
    torch.testing.assert_close(found.prototypes(["joy", "anger"])[1:], anger)
    with pytest.raises(ConfigError, match="no VAD ratings are known of 'rage'"):
        found.prototypes(["rage"])


def test_classes_move_to_the_scale_of_a_corpus(space: str):
    found = load_space(Folder(space))
    plain = found.prototypes(["joy", "anger"])
    same = found.prototypes(["joy", "anger"], mean=found.mean[:3], std=found.std[:3])
    torch.testing.assert_close(same, plain)
    middle = found.prototypes(["joy", "anger"], mean=torch.full((3,), 0.5), std=torch.zeros(3))
    torch.testing.assert_close(middle, found.encode("vad", torch.full((2, 3), 0.5)))


def answers(space: str, classes: tuple[str, ...]) -> tuple[Answers, torch.Tensor]:
    found = load_space(Folder(space))
    points = found.prototypes(classes)
    formats = (*found.formats, Format("made", classes, "categorical"))
    return Answers(formats, found.formats, found.weight, found.mean, found.std, points), points


def test_an_embedding_on_a_class_is_that_class(space: str):
    classes = ("anger", "boredom", "joy", "sadness")
    known, points = answers(space, classes)
    shares = known.read(points)[-1]
    assert shares.argmax(dim=1).tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(4))


def test_augmentation_teaches_what_the_space_makes_of_a_class(space: str):
    known, points = answers(space, ("anger", "joy"))
    found = load_space(Folder(space))
    truth = torch.full((2, sum(known.sizes)), NAN)
    truth[:, -2:] = torch.eye(2)
    given = Batch({}, truth, torch.zeros(2, dtype=torch.long), torch.arange(2))
    z = torch.randn(2, found.dim, requires_grad=True)
    output = ModelOutput(z, z, {})
    plain = EmotionEmbeddingLoss(found, known, [2], [])
    more = EmotionEmbeddingLoss(found, known, [2], [0])
    vad = (known.logits(z)[0] - known.read(points)[0]) / found.std[:3]
    both = (plain(output, given) + vad.square().mean()) / 2
    torch.testing.assert_close(more(output, given), both)
    torch.testing.assert_close(more.validation(output, given), plain(output, given))
    more(output, given).backward()
    assert z.grad is not None


def test_a_format_that_is_not_taught_has_no_part_in_the_loss(space: str):
    task = (
        TASKS["emotion_embedding"].of(rated_corpus(())).knowing([SpacePrior(str(space), "digest")])
    )
    taught = torch.from_numpy(task.teach(task.targets(rated_corpus(())), LossConfig())[0][:4])
    found = load_space(Folder(space))
    known = Answers(found.formats, found.formats, found.weight, found.mean, found.std)
    loss = EmotionEmbeddingLoss(found, known, [0], [])
    z = torch.randn(4, found.dim)
    rows, none = torch.arange(4), torch.zeros(4, dtype=torch.long)
    first = loss(ModelOutput(z, z, {}), Batch({}, taught, none, rows))
    other = taught.clone()
    other[:, 3:] = 1 - other[:, 3:]
    torch.testing.assert_close(loss(ModelOutput(z, z, {}), Batch({}, other, none, rows)), first)


def test_formats_that_are_not_there_are_named(space: str):
    task = (
        TASKS["emotion_embedding"].of(rated_corpus(())).knowing([SpacePrior(str(space), "digest")])
    )
    with pytest.raises(ConfigError, match="loss.augmented: the corpus is rated in vad, which is"):
        task.check_loss(LossConfig(augmented=("vad",)))
    with pytest.raises(ConfigError, match="the corpus is not rated in 'be5'"):
        task.check_loss(LossConfig(supervised=("be5",)))
    with pytest.raises(ConfigError, match="the emotion space has no 'be5'"):
        task.check_loss(LossConfig(augmented=("be5",)))
    with pytest.raises(ConfigError, match="not in loss.supervised"):
        LossConfig(supervised=("vad",), augmented=("vad",))


def test_a_corpus_that_the_space_does_not_know_is_refused(space: str):
    rows = tuple(Utterance(f"u{k}", values={"be5.joy": 0.5}) for k in range(3))
    corpus = Corpus(
        "made", Path(), (), rows, ("",) * 3, targets=("be5.joy",), formats=(FORMATS["be5"],)
    )
    with pytest.raises(ConfigError, match="rated in be5, which the emotion space does not know"):
        TASKS["emotion_embedding"].of(corpus).knowing([SpacePrior(str(space), "digest")])
    rows = tuple(Utterance(f"u{k}", ("joy", "rage")[k % 2]) for k in range(4))
    corpus = Corpus("made", Path(), ("joy", "rage"), rows, ("",) * 4)
    with pytest.raises(ConfigError, match="no VAD ratings are known of 'rage'"):
        TASKS["emotion_embedding"].of(corpus).knowing([SpacePrior(str(space), "digest")])


def test_what_is_no_space_is_refused(tmp_path: Path, space: str):
    with pytest.raises(StorageError, match="holds no emotion space"):
        raysys.load_space(tmp_path)
    place = Folder(space)
    content = place.read_json("bundle.json")
    other = {**content, "task": {"name": "classification", "outputs": []}}
    del other["sha256"]
    write_sealed(place, "bundle.json", other)
    with pytest.raises(StorageError, match="was trained for the task classification"):
        load_space(place)
    place.write_json("bundle.json", content)
    place.write_bytes("weights.safetensors", b"damaged")
    with pytest.raises(StorageError, match="is damaged"):
        load_space(place)


def test_scores_of_formats_and_classes_are_apart(space: str):
    corpus = rated_corpus(("anger", "joy", "sadness"))
    task = TASKS["emotion_embedding"].of(corpus).knowing([SpacePrior(str(space), "digest")])
    truth = task.targets(corpus).ratings
    outputs = truth.copy()
    outputs[:, -3:] = np.roll(outputs[:, -3:], 1, axis=1)
    found = task.score(outputs, truth)
    assert found["pearson"] == pytest.approx(1)
    assert found["ua"] == 0


def test_a_finished_fold_whose_score_cannot_be_known_is_read_again(tmp_path: Path):
    from dataclasses import asdict

    val = {"loss": 0.5, "ua": NAN}
    folder = Folder(str(tmp_path))
    whole = FoldResult("t", 0, 1, 1, val, (EpochRecord(1, 0.1, val, 1.0),), folder.uri)
    plain = asdict(whole)
    del plain["folder"], plain["redone"]
    write_sealed(folder, "fold.json", {**plain, "files": {}})
    found = read_result(folder)
    assert found is not None
    assert found.val["loss"] == found.history[0].val["loss"] == 0.5
    assert math.isnan(found.val["ua"]) and math.isnan(found.history[0].val["ua"])


class KilledError(Exception):
    """What kills a fold in the middle of training."""


def test_a_mapping_that_was_killed_ends_in_the_same_bits(tmp_path: Path):
    corpus = rated_corpus(())
    config = with_training(space_config(corpus), max_epochs=6, patience=6, batch_size=16)
    task = TASKS["label_mapping"].of(corpus)
    frames = {
        one.name: np.stack(
            [[row.values[f"{one.name}.{v}"] for v in one.variables] for row in corpus.utterances]
        )
        for one in corpus.formats
    }
    lengths = np.ones(len(corpus), dtype=np.int64)
    features = {name: Ragged.of(one.astype(np.float16), lengths) for name, one in frames.items()}
    fold = Fold(0, np.arange(36), np.arange(36, 48), np.arange(48, 60))
    data = FoldData(task, features, {}, task.targets(corpus), (fold,))

    def run(name: str, killed_after: int = 0) -> bytes:
        folder = Folder(str(tmp_path / name))

        def on_epoch(record: EpochRecord) -> bool:
            if record.epoch == killed_after and record.seconds:
                raise KilledError
            return True

        one = FoldTask("words", 0, config, folder.uri)
        if killed_after:
            with pytest.raises(KilledError):
                run_fold(one, data, on_epoch)
        result = run_fold(one, data, lambda record: True)
        assert result.epochs == 6
        return folder.read_bytes("weights.safetensors") + folder.read_bytes("test_values.npy")

    assert run("whole") == run("killed", killed_after=4) == run("again")
