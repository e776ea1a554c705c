"""One training step of MultiEMO at its published sizes: forward, three losses, backward.

64 dialogues of 30 to 50 utterances (about 2,600), text 768, audio 512 and video 1000 wide, one vector an utterance;
model 256 wide, 6 layers, 4 heads, feed-forward 1024, a DialogueRNN in both directions for each modality. The authors'
public code takes 43 s for such a step on 2 cores.
"""

import time
from typing import Any

import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from raysys.config import LossConfig, ModelConfig
from raysys.features.batch import Batch, Layout, Padded
from raysys.losses import Objective, class_counts
from raysys.models.multiemo import Multiemo
from raysys.storage import Folder

_DIALOGUES, _SHORTEST, _LONGEST, _PARTIES, _CLASSES = 64, 30, 50, 2, 6
_DIMS = {"text": 768, "audio": 512, "video": 1000}
_STEPS = 4
_SQUARE = 2048
_Inputs = tuple[dict[str, Padded], Layout, torch.Tensor, torch.Tensor]


def measure(console: Console, folder: Folder) -> dict[str, Any]:
    """Time a step, and count its arithmetic.

    Args:
        console: for progress.
        folder: not used.

    Returns:
        The best of several `seconds_per_step`, `parameters`, `utterances`, `gflop` of the step's matrix products, and
        `share_of_matrix_speed`: the speed reached over that of a large matrix product, measured in the same run.
    """
    torch.manual_seed(0)
    config = ModelConfig(name="multiemo", modalities=tuple(_DIMS))  # type: ignore[arg-type]
    model = Multiemo(config, dims=_DIMS, n_classes=_CLASSES).train()
    lengths = torch.randint(_SHORTEST, _LONGEST + 1, (_DIALOGUES,))
    batch = _batch(lengths)
    loss = LossConfig(mu1=0.4, mu2=0.3)
    objective = Objective(loss, torch.ones(_CLASSES), class_counts(batch[2], _CLASSES), None)
    console.print(f"{int(lengths.sum())} utterances, {torch.get_num_threads()} threads")
    with FlopCounterMode(display=False) as counter:
        _step(model, objective, batch)
    gflop = counter.get_total_flops() / 1e9
    seconds = min(_step(model, objective, batch) for _ in range(_STEPS))
    speed = _matrix_gflops()
    return {
        "seconds_per_step": seconds,
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "utterances": int(lengths.sum()),
        "gflop": gflop,
        "matrix_gflop_per_second": speed,
        "share_of_matrix_speed": gflop / seconds / speed,
    }


def _batch(lengths: torch.Tensor) -> _Inputs:
    """Modalities, layout, labels and targets of dialogues of these lengths."""
    count = int(lengths.sum())
    modalities = {
        name: Padded(torch.randn(count, 1, dim), torch.ones(count, 1, dtype=torch.bool))
        for name, dim in _DIMS.items()
    }
    turn = torch.arange(int(lengths.max()))
    mask = turn < lengths[:, None]
    places = torch.where(mask, (lengths.cumsum(dim=0) - lengths)[:, None] + turn, 0)
    speakers = torch.randint(0, _PARTIES, mask.shape)
    labels = torch.arange(count) % _CLASSES
    return modalities, Layout(places, mask, speakers), labels, torch.eye(_CLASSES)[labels]


def _step(model: Multiemo, objective: Objective, inputs: _Inputs) -> float:
    """Seconds of forward, losses and backward."""
    modalities, layout, labels, targets = inputs
    batch = Batch(modalities, targets, labels, torch.arange(len(labels)), layout)
    model.zero_grad()
    started = time.perf_counter()
    objective(model(modalities, layout), batch).backward()
    return time.perf_counter() - started


def _matrix_gflops() -> float:
    """Speed of a large matrix product: billions of operations a second, the best of several."""
    square = torch.randn(_SQUARE, _SQUARE)
    best = float("inf")
    for _ in range(_STEPS):
        started = time.perf_counter()
        square @ square
        best = min(best, time.perf_counter() - started)
    return 2 * _SQUARE**3 / best / 1e9
