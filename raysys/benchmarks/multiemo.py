"""One training step of MultiEMO at its published sizes: forward, three losses, backward.

64 dialogues of 30 to 50 utterances (about 2,600), text 768, audio 512 and video 1000 wide, one vector an utterance;
model 256 wide, 6 layers, 4 heads that together have that width, feed-forward 1024, a DialogueRNN in both directions for
each modality. The authors' public code takes 43 s for such a step on 2 cores.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rich.console import Console

from raysys.batches.batch import Batch, Part, Turns
from raysys.benchmarks.speed import gflop_of, matrix_gflops
from raysys.losses import LossConfig, make_objective
from raysys.losses.classification import ClassificationLoss, class_counts
from raysys.losses.objective import Objective
from raysys.models.multiemo import Multiemo, MultiemoConfig
from raysys.storage import Folder

DIMS = {"text": 768, "audio": 512, "video": 1000}
"""Modality -> width of its features."""
MODEL = MultiemoConfig(context=("audio", "text", "video"), dropout=0.0)
"""The other defaults are the published sizes."""
_DIALOGUES, _SHORTEST, _LONGEST, _SPEAKERS, _CLASSES = 64, 30, 50, 2, 6
_STEPS = 4
_SEED = 8
"""Seed that gives dialogue lengths whose sum is close to 2,600."""


def measure(console: Console, folder: Folder) -> dict[str, Any]:
    """Time a step, and count its arithmetic.

    Args:
        console: for progress.
        folder: not used.

    Returns:
        See `measure_step`.
    """
    torch.manual_seed(_SEED)
    lengths = torch.randint(_SHORTEST, _LONGEST + 1, (_DIALOGUES,)).tolist()
    console.print(f"{sum(lengths)} utterances, {torch.get_num_threads()} threads")
    return measure_step(MODEL, DIMS, lengths)


def measure_step(
    config: MultiemoConfig, dims: Mapping[str, int], lengths: Sequence[int]
) -> dict[str, Any]:
    """A step on random dialogues of these lengths.

    Args:
        config: sizes of MultiEMO.
        dims: modality -> width of its features.
        lengths: turns of each dialogue.

    Returns:
        The best of several `seconds_per_step`, `parameters`, `utterances`, `gflop` of the step's matrix products
        (attention's included), and `share_of_matrix_speed`: the speed reached over that of a large matrix product,
        measured in the same run.
    """
    model = Multiemo(config, list(dims), dims=dims, n_outputs=_CLASSES).train()
    batch = _batch(dims, torch.tensor(lengths))
    counts = class_counts(batch.labels, _CLASSES)
    main = ClassificationLoss(0.0, torch.ones(_CLASSES))
    objective = make_objective(LossConfig(mu1=0.4, mu2=0.4), main, counts)
    gflop = gflop_of(lambda: _step(model, objective, batch))
    seconds = min(_step(model, objective, batch) for _ in range(_STEPS))
    speed = matrix_gflops()
    return {
        "seconds_per_step": seconds,
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "utterances": len(batch.labels),
        "gflop": gflop,
        "matrix_gflop_per_second": speed,
        "share_of_matrix_speed": gflop / seconds / speed,
    }


def _batch(dims: Mapping[str, int], lengths: torch.Tensor) -> Batch:
    """All dialogues in one batch, each utterance one frame."""
    count = int(lengths.sum())
    labels = torch.arange(count) % _CLASSES
    turns = Turns(
        dialogue=torch.arange(len(lengths)).repeat_interleave(lengths),
        turn=torch.arange(count),
        speaker=torch.randint(0, _SPEAKERS, (count,)),
    )
    part = Part(
        {modality: torch.randn(count, dim) for modality, dim in dims.items()},
        dict.fromkeys(dims, torch.arange(count + 1)),
        targets=torch.eye(_CLASSES)[labels],
        labels=labels,
        turns=turns,
    )
    return part.of_dialogues(part.dialogues())


def _step(model: Multiemo, objective: Objective, batch: Batch) -> float:
    """Seconds of forward, losses and backward."""
    model.zero_grad()
    started = time.perf_counter()
    objective(model(batch.modalities, batch.layout), batch).backward()
    return time.perf_counter() - started
