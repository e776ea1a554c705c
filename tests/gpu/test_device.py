"""What must hold on a GPU: the CPU's numbers, the same bits after a kill, memory within its share.

    make test-gpu        on a machine with a GPU; needs neither Ray nor MLflow

Without a GPU the same tests compare the CPU with itself, and those of CUDA's own skip. Tolerances are of float32, whose
sums a GPU takes in another order.
"""

import copy
import gc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from raysys import contracts, gpu
from raysys.batches.batch import Part, Turns, make_part
from raysys.config import Config
from raysys.corpus.folds import Fold
from raysys.corpus.table import Utterance
from raysys.encoders.adapters import LoraConfig
from raysys.encoders.audio_transformers import AudioTransformersConfig
from raysys.encoders.encoder import EncoderConfig
from raysys.encoders.extraction import encode_rows
from raysys.encoders.image_transformers import ImageTransformersConfig
from raysys.encoders.ragged import Ragged
from raysys.encoders.transformers import TransformersConfig
from raysys.losses import LossConfig
from raysys.models import ModelConfig
from raysys.models.bimodal_attention import BimodalAttentionConfig
from raysys.models.cltnet import CltnetConfig
from raysys.models.multiemo import MultiemoConfig
from raysys.models.output import ModelOutput
from raysys.models.probe import Probe, ProbeConfig
from raysys.settings import replaced
from raysys.tasks.class_targets import ClassTargets
from raysys.tasks.classification import Classification
from raysys.training.arithmetic import settle, settled
from raysys.training.fold import run_fold
from raysys.training.memory import measure_memory
from raysys.training.parts import FoldData
from raysys.training.records import EpochRecord, FoldTask
from tests.contracts.test_models import CASES, settings_of
from tests.pretrained import make_audio_model, make_image_model, make_text_model
from tests.side_by_side import all_at_once

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
on_gpu = pytest.mark.skipif(DEVICE == "cpu", reason=f"no GPU: {gpu.why_not()}")
VALUES = {"atol": 1e-4, "rtol": 1e-3}
"""Outputs, and gradients of a loss of order 1."""
STATES = {"atol": 2e-3, "rtol": 1e-2}
"""States of encoders of a few layers, which are stored as float16."""
N, CLASSES = 60, 3
FOLD = Fold(0, np.arange(0, 36), np.arange(36, 48), np.arange(48, 60))
TASK = Classification(("calm", "joy", "rage"))


@pytest.fixture(autouse=True)
def arithmetic() -> Iterator[None]:
    """As in training; the GPU's memory is given back after each test."""
    with settled(Config(training=replace(Config().training, device=DEVICE))):
        yield
    gc.collect()
    gpu.release()


def arrays(dim: int = 5) -> FoldData:
    """Sixty utterances in dialogues of four turns, whose class shows in audio and text, buried in noise."""
    random = np.random.default_rng(0)
    labels = np.arange(N) % CLASSES

    def ragged(width: int) -> Ragged:
        lengths = random.integers(3, 12, size=N)
        values = random.normal(size=(lengths.sum(), width))
        values[:, 0] += np.repeat(labels, lengths) * 1.5
        return Ragged.of(values.astype(np.float16), np.array(lengths))

    rows = np.arange(N)
    places = np.stack([rows // 4, rows % 4, rows % 2], axis=1).astype(np.int64)
    votes = np.zeros((N, CLASSES), dtype=np.int64)
    targets = ClassTargets(labels, votes, np.zeros(N))
    return FoldData(TASK, {"audio": ragged(dim), "text": ragged(4)}, {}, targets, (FOLD,), places)


MODELS: dict[str, dict[str, Any]] = {
    "cltnet": {
        "model.cltnet": CltnetConfig(channels=8, text_dim=8, dim=8, layers=1, heads=2, dropout=0.1)
    },
    "multiemo": {
        "model.multiemo": MultiemoConfig(dim=8, state=6, layers=1, heads=2, feedforward=12),
        "training.batch_size": 3,
    },
    "bimodal_attention": {
        "model.bimodal_attention": BimodalAttentionConfig(dim=8, heads=2, feedforward=16)
    },
}
"""Models of each kind of kernel: convolutions and LSTMs, cells turn by turn, attention."""


def config_of(model: str, **more: Any) -> Config:
    plain = {"training.max_epochs": 4, "training.batch_size": 16, "training.device": DEVICE}
    base = replace(Config(), model=ModelConfig(name=model, modalities=("audio", "text")))
    losses = {"loss.mu1": 0.2, "loss.mu2": 0.1, "loss.omega": 0.0}
    return replaced(base, {**plain, **losses, **MODELS.get(model, {}), **more})


def task_of(config: Config, folder: Path) -> FoldTask:
    return FoldTask("t", 0, config, str(folder))


def go_on(record: EpochRecord) -> bool:
    return True


def moved(batch: dict[str, Any], device: str) -> dict[str, Any]:
    padded = {m: (one.values.to(device), one.mask.to(device)) for m, one in batch.items()}
    return {m: contracts.Padded(*both) for m, both in padded.items()}


@pytest.mark.parametrize(("name", "sizes", "modalities"), CASES)
def test_a_model_gives_the_outputs_and_gradients_of_the_cpu(name: str, sizes, modalities):
    found = {}
    for device in ("cpu", DEVICE):
        model = contracts.built(settings_of(name, sizes), modalities).to(device).train()
        batch = moved(contracts.padded(modalities, range(4)), device)
        layout = contracts.alone(4)
        layout = replace(
            layout,
            **{one: getattr(layout, one).to(device) for one in ("places", "mask", "speakers")},
        )
        output = model(batch, layout)
        nn.functional.cross_entropy(output.logits, torch.arange(4, device=device)).backward()
        gradients = {n: p.grad.cpu() for n, p in model.named_parameters() if p.grad is not None}
        found[device] = (output.logits.detach().cpu(), output.embedding.detach().cpu(), gradients)
    for one, other in zip(found["cpu"], found[DEVICE], strict=True):
        torch.testing.assert_close(other, one, **VALUES)


@pytest.mark.parametrize(
    "settings",
    [
        LossConfig(mu1=0.3, mu2=0.2),
        LossConfig(mu1=0.3, mu2=0.2, mode="paper"),
        LossConfig(omega=0.5, similarity="vad"),
    ],
    ids=["official", "paper", "emotion-aware"],
)
def test_the_objective_is_that_of_the_cpu(settings: LossConfig):
    random = torch.Generator().manual_seed(0)
    logits, embedding, audio, text = (
        torch.randn(12, width, generator=random) for width in (CLASSES, 8, 8, 8)
    )
    found = {}
    for device in ("cpu", DEVICE):
        train = part_of(device)
        objective = TASK.objective(
            settings, train, TASK.fit(train, None), prior=prior(settings), label_smoothing=0.1
        )
        own = [one.to(device).requires_grad_() for one in (logits, embedding, audio, text)]
        output = ModelOutput(own[0], own[1], {"audio": own[2], "text": own[3]})
        batch = train.batch(torch.arange(12))
        loss = objective(output, batch)
        loss.backward()
        found[device] = (
            loss.detach().cpu(),
            [one.grad.cpu() for one in own if one.grad is not None],
        )
    torch.testing.assert_close(found[DEVICE], found["cpu"], **VALUES)


def prior(settings: LossConfig) -> Any:
    from raysys.similarity.prior import SimilarityPrior

    if not settings.omega:
        return None
    return SimilarityPrior([[1.0, 0.2, 0.1], [0.2, 1.0, 0.5], [0.1, 0.5, 1.0]])


def part_of(device: str, **more: Any) -> Part:
    data = arrays()
    one_hot = np.eye(CLASSES, dtype=np.float32)[data.targets.labels]
    return make_part(
        data.features, FOLD.train, labels=data.targets.labels, targets=one_hot, normalisers={}, device=device, **more
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["whisper", "wavlm", "ast"])
def test_an_audio_encoder_gives_the_states_of_the_cpu(kind: str, tmp_path: Path):
    import soundfile

    random = np.random.default_rng(0)
    model = str(make_audio_model(kind, tmp_path))
    for k, seconds in enumerate((0.3, 1.0, 0.6)):
        sound = 0.1 * random.standard_normal(round(16000 * seconds))
        soundfile.write(tmp_path / f"{k}.wav", sound, 16000)
    rows = [Utterance(f"u{k}", audio=f"{k}.wav") for k in range(3)]
    assert_alike(AudioTransformersConfig(model=model, layers=(1, 2)), "audio", rows, tmp_path)


def test_a_text_encoder_gives_the_states_of_the_cpu(tmp_path: Path):
    model = str(make_text_model("bert", tmp_path))
    rows = [Utterance(f"u{k}", text="so it is ! " * (k + 1)) for k in range(3)]
    assert_alike(TransformersConfig(model=model), "text", rows, tmp_path)


@pytest.mark.parametrize("lora", [0, 2])
def test_trained_layers_give_the_states_and_gradients_of_the_cpu(lora: int, tmp_path: Path):
    folder = make_text_model("bert", tmp_path)
    adapters = LoraConfig(rank=lora, targets="all")
    settings = TransformersConfig(str(folder), layers=(2,), finetune_layers=2, lora=adapters)
    torch.manual_seed(0)
    top = settings.top().build().eval()
    values = torch.randn(3, 7, len(top.mean) + 1)
    values[..., -1] = 1
    mask = torch.arange(7) < torch.tensor([[7], [4], [1]])
    found = []
    for device in ("cpu", DEVICE):
        own = copy.deepcopy(top).to(device)
        states, _ = own(values.to(device), mask.to(device))
        states.square().mean().backward()
        found.append([states, *(one.grad for one in own.parameters() if one.grad is not None)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other.cpu(), one, **VALUES)


def test_an_image_encoder_gives_the_vectors_of_the_cpu(tmp_path: Path):
    from PIL import Image

    random = np.random.default_rng(0)
    for k in range(3):
        pixels = random.integers(0, 255, (40 + k, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
    rows = [Utterance(f"u{k}", image=f"{k}.png") for k in range(3)]
    model = str(make_image_model("vit", tmp_path / "vit"))
    assert_alike(ImageTransformersConfig(model=model), "image", rows, tmp_path)


def assert_alike(settings: EncoderConfig, modality: str, rows: list[Utterance], root: Path) -> None:
    """Equal frames on both devices."""
    both = [
        encode_rows(replace(settings, device=device).build(modality), rows, root)  # type: ignore[call-arg]
        for device in ("cpu", DEVICE)
    ]
    for one, other in zip(*both, strict=True):
        np.testing.assert_allclose(other, one, **STATES)


@pytest.mark.parametrize("model", MODELS)
def test_a_fold_gives_the_same_bits_twice_and_after_it_was_stopped(model: str, tmp_path: Path):
    config = config_of(model)
    run_fold(task_of(config, tmp_path / "whole"), arrays(), go_on)
    run_fold(task_of(config, tmp_path / "again"), arrays(), go_on)
    stopped = run_fold(task_of(config, tmp_path / "halves"), arrays(), lambda one: one.epoch < 2)
    assert stopped.stopped
    run_fold(task_of(config, tmp_path / "halves"), arrays(), go_on)
    for name in ("weights.safetensors", "test_embeddings.npy", "test_probabilities.npy"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == whole, name
        assert (tmp_path / "halves" / name).read_bytes() == whole, name


@pytest.mark.parametrize("model", MODELS)
def test_streamed_frames_train_to_the_bits_of_resident_ones(model: str, tmp_path: Path):
    for place, limit in (("resident", 8.0), ("streamed", 0.0)):
        config = config_of(model, **{"training.resident_gb": limit})
        run_fold(task_of(config, tmp_path / place), arrays(), go_on)
    kept = [(tmp_path / p / "weights.safetensors").read_bytes() for p in ("resident", "streamed")]
    assert kept[0] == kept[1]


def test_folds_trained_together_end_as_each_alone(tmp_path: Path):
    """Within 1e-3 of losses of order 1, after 4 epochs: wider products have their sums in another order."""
    configs = [config_of("multiemo", seed=k) for k in range(3)]
    places = [tmp_path / kind for kind in ("together", "alone")]
    both = [[task_of(own, place / str(own.seed)) for own in configs] for place in places]
    data = arrays()
    found = all_at_once(*(partial(run_fold, one, data, go_on) for one in both[0]))
    for ours, task in zip(found, both[1], strict=True):
        theirs = run_fold(task, data, go_on)
        losses = [[record.train_loss for record in one.history] for one in (ours, theirs)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-3)


@on_gpu
def test_attention_s_backward_pass_has_the_same_bits_twice():
    """Of AST's size: 1,214 patches, 12 heads of 64; in float32 (memory-efficient) and bfloat16 (flash)."""
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        given = torch.randn(3, 4, 12, 1214, 64, device="cuda", dtype=dtype)
        found = []
        for _ in range(3):
            query, key, value = (one.clone().requires_grad_() for one in given)
            nn.functional.scaled_dot_product_attention(query, key, value).square().sum().backward()
            found.append([one.grad.clone() for one in (query, key, value)])
        for again in found[1:]:
            assert all(torch.equal(a, b) for a, b in zip(found[0], again, strict=True)), dtype


@on_gpu
def test_a_batch_is_made_without_waiting_for_the_gpu():
    places = torch.tensor(arrays().places)
    part = part_of("cuda", turns=Turns(*places.unbind(dim=1)))
    for dialogues in (False, True):
        for _ in part.batches(4, dialogues=dialogues):  # what is computed once
            pass
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            order = torch.Generator().manual_seed(0)
            made = list(part.batches(4, dialogues=dialogues, shuffle=order))
            sizes = [batch.modalities["audio"].values.shape for batch in made]
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert sum(size[0] for size in sizes) == len(part)


@on_gpu
def test_a_share_of_a_gpu_bounds_its_memory():
    config = replaced(config_of("cltnet"), {"cluster.gpus_per_fold": 0.25})
    assert settle(config) == "cuda"
    bound = gpu.memory_share(0.25, gpu.memory_gb())
    assert torch.cuda.get_per_process_memory_fraction() == pytest.approx(bound)
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(int(0.5 * gpu.memory_gb() * 1e9), dtype=torch.uint8, device="cuda")


@on_gpu
def test_the_memory_of_a_fold_is_measured_and_does_in_its_share(tmp_path: Path):
    config, data = config_of("cltnet"), arrays()
    memory = measure_memory(config, data, None)
    assert 0 < memory.fold_gb < 1
    assert memory.gpu_gb == pytest.approx(gpu.memory_gb())
    count = gpu.shares_that_fit(memory.fold_gb, memory.gpu_gb)
    own = replaced(config, {"cluster.gpus_per_fold": 1 / count})
    run_fold(task_of(own, tmp_path), data, go_on)
    assert torch.cuda.max_memory_reserved() <= 1e9 * memory.gpu_gb / count


@dataclass(frozen=True)
class GreedyConfig(ProbeConfig):
    """A probe that asks for more than the whole GPU once."""

    calls: ClassVar[list[str]] = []

    def build(self, modalities: Any, *, dims: Any, n_outputs: int) -> "Greedy":
        return Greedy(self, modalities, dims=dims, n_outputs=n_outputs)


class Greedy(Probe):
    def forward(self, modalities: Any, layout: Any) -> ModelOutput:
        if GreedyConfig.calls and GreedyConfig.calls.pop(0) == "greedy":
            torch.empty(int(2e9 * gpu.memory_gb()), dtype=torch.uint8, device="cuda")
        return super().forward(modalities, layout)


@on_gpu
def test_out_of_memory_is_tried_once_more_to_the_same_bits(tmp_path: Path):
    config = config_of(f"{__name__}:GreedyConfig")
    for place, calls in (("whole", []), ("greedy", ["", "", "", "greedy"])):
        GreedyConfig.calls[:] = calls
        run_fold(task_of(config, tmp_path / place), arrays(), go_on)
    kept = [(tmp_path / p / "weights.safetensors").read_bytes() for p in ("whole", "greedy")]
    assert kept[0] == kept[1]
