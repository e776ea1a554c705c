"""What must hold on a GPU, besides folds: the losses of every task, and layers that save memory."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from raysys.batches.batch import Part, make_part
from raysys.encoders.adapters import LoraConfig
from raysys.encoders.ragged import Ragged
from raysys.encoders.transformers import TransformersConfig
from raysys.losses import LossConfig
from raysys.models.output import ModelOutput
from raysys.similarity.prior import SpacePrior
from raysys.tasks import TASKS
from raysys.tasks.task import Task
from tests.contracts.test_tasks import corpus_for, rated_corpus
from tests.gpu.test_device import DEVICE, VALUES
from tests.pretrained import make_text_model
from tests.spaces import save_space

HALVES = {"atol": 2e-2, "rtol": 2e-2}
"""Of bfloat16, whose numbers have eight bits."""
CASES = {
    "concordance": ("regression", LossConfig(regression="ccc")),
    "squared error": ("regression", LossConfig(regression="mse")),
    "label mapping": ("label_mapping", LossConfig(closeness=0.5, sharing=0.5)),
    "emotion embedding": ("emotion_embedding", LossConfig()),
}


def part_of(task: Task, targets: object, loss: LossConfig, device: str) -> Part:
    taught, labels = task.teach(targets, loss)
    count = len(labels)
    frames = Ragged.of(np.zeros((count, 1), np.float16), np.ones(count, dtype=np.int64))
    return make_part(
        {"text": frames}, np.arange(count), labels=labels, targets=taught, normalisers={}, device=device
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_tasks_loss_is_that_of_the_cpu(case: str, tmp_path: Path):
    name, loss = CASES[case]
    corpus = corpus_for(name)
    prior, task = None, TASKS[name].of(corpus)
    if name == "emotion_embedding":
        formats = rated_corpus(())
        prior = SpacePrior(save_space(tmp_path / "space", formats), "digest")
        task = task.knowing([prior])
        loss = LossConfig(
            augmented=(formats.formats[1].name,), supervised=(formats.formats[0].name,)
        )
    random = torch.Generator().manual_seed(0)
    rows = torch.arange(12)
    logits = torch.randn(12, task.width, generator=random)
    vectors = [torch.randn(12, 6, generator=random) for _ in range(2)]
    found = {}
    for device in ("cpu", DEVICE):
        train = part_of(task, task.targets(corpus), loss, device)
        objective = task.objective(
            loss, train, task.fit(train, prior), prior=prior, label_smoothing=0.0
        )
        own = [one.to(device).requires_grad_() for one in (logits, *vectors)]
        output = ModelOutput(own[0], own[0], {"a": own[1], "b": own[2]})
        value = objective(output, train.batch(rows))
        value.backward()
        gradients = [one.grad.cpu() for one in own if one.grad is not None]
        assert gradients[0].any()
        found[device] = (value.detach().cpu(), gradients)
    torch.testing.assert_close(found[DEVICE], found["cpu"], **VALUES)


@pytest.mark.parametrize("lora", [0, 2])
@pytest.mark.parametrize("saves", ["gradient checkpointing", "mixed precision"])
def test_layers_that_save_memory_give_the_states_and_gradients_of_the_cpu(
    saves: str, lora: int, tmp_path: Path
):
    folder = make_text_model("bert", tmp_path)
    adapters = LoraConfig(rank=lora, dropout=0.0, targets="all")
    settings = TransformersConfig(str(folder), layers=(2,), finetune_layers=2, lora=adapters)
    torch.manual_seed(0)
    plain = settings.top().build().train()
    for layer in plain.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    saving = copy.deepcopy(plain)
    saving.checkpointing = saves == "gradient checkpointing"
    saving.mixed = saves == "mixed precision"
    values = torch.randn(3, 7, len(plain.mean) + 1)
    values[..., -1] = 1
    mask = torch.arange(7) < torch.tensor([[7], [4], [1]])
    found = []
    for top, device in ((plain, "cpu"), (saving, DEVICE)):
        own = top.to(device)
        states, _ = own(values.to(device), mask.to(device))
        states.square().mean().backward()
        found.append([states, *(one.grad for one in own.parameters() if one.grad is not None)])
    assert len(found[0]) == len(found[1]) > 4
    tolerance = HALVES if saving.mixed else VALUES
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other.cpu().float(), one, **tolerance)


def test_a_resnet_gives_the_values_of_the_cpu():
    pytest.importorskip("torchvision", reason="VisExtNet needs torchvision")
    from raysys.encoders.resnet import Resnet, weights_file
    from tests.films import small_resnet

    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (40, 30, 3), dtype=np.uint8) for _ in range(2)]
    file = weights_file(small_resnet(), "features.visextnet.weights")
    values = [
        Resnet(file, setting="features.visextnet.weights", device=device)(pictures)
        for device in ("cpu", DEVICE)
    ]
    np.testing.assert_allclose(values[1], values[0], atol=1e-2, rtol=1e-2)
