"""An epoch on frames that stand one after the other, against one on padded batches; and how full batches would be.

python -m jobs.benchmark batches configs/meld_text.yaml --corpus.root DIR
"""

import time
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from rich.console import Console

from raysys.batches.batch import Batch, Part
from raysys.batches.padded import Padded
from raysys.config import Config
from raysys.errors import ConfigError
from raysys.running.plan import make_plan
from raysys.storage import Folder
from raysys.training.epoch import train_epoch
from raysys.training.fold import make_learner
from raysys.training.parts import Parts, balanced

_EPOCHS = 3
"""Timed of each kind, in turns."""


class _PaddedPart(Part):
    """A part whose batches are padded when they are made, as a plain loader's are."""

    def batches(self, *given: Any, **settings: Any) -> Iterator[Batch]:
        """All utterances once; see `Part`."""
        for batch in super().batches(*given, **settings):
            padded = {m: Padded(one.values, one.mask) for m, one in batch.modalities.items()}
            yield replace(batch, modalities=padded)


def measure(config: Config, console: Console, folder: Folder) -> dict[str, Any]:
    """Time epochs of fold 0 on both kinds of batches, in turns, from the same weights.

    Args:
        config: what is trained, and on which corpus.
        console: for progress.
        folder: not used.

    Returns:
        `fill` of each modality (real frames of all places of its padded batches), the best `seconds` of an epoch of
        each kind, the `ratio` of the two, and whether both end at the `same_loss` to the bit.

    Raises:
        ConfigError: the model is fitted at once, so that there are no epochs.
    """
    if config.model.chosen.fits_at_once:
        raise ConfigError("this benchmark is of epochs: set --model.name to a model that has some")
    plan = make_plan(config)
    fold = plan.folds[0]
    part = Parts.of(config, plan.data, fold, "cpu")
    train = balanced(part.train(fold), config, plan.data, fold)
    kinds = {
        "packed": train,
        "padded": _PaddedPart(**{one.name: getattr(train, one.name) for one in fields(Part)}),
    }
    fill = _fill(train, config)
    console.print(", ".join(f"{modality}: {share:.0%} full" for modality, share in fill.items()))
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    losses: dict[str, float] = {}
    for _ in range(_EPOCHS):
        for kind, own in kinds.items():
            prior = None if plan.prior is None else plan.prior[0]
            learner = make_learner(config, plan.task, fold=0, train=own, prior=prior, tops={})
            torch.manual_seed(config.seed)
            started = time.perf_counter()
            losses[kind] = train_epoch(learner, own, config)
            seconds[kind].append(time.perf_counter() - started)
    best = {kind: min(times) for kind, times in seconds.items()}
    return {
        "fill": fill,
        "seconds": best,
        "ratio": best["padded"] / best["packed"],
        "same_loss": losses["packed"] == losses["padded"],
    }


def _fill(train: Part, config: Config) -> dict[str, float]:
    """Modality -> real frames of a pass, as a share of its padded places."""
    counts: dict[str, list[tuple[int, int]]] = {}
    dialogues = config.model.chosen.reads_dialogues
    order = torch.Generator().manual_seed(config.seed)
    size = config.training.batch_size
    for batch in train.batches(size, dialogues=dialogues, shuffle=order):
        for modality, one in batch.modalities.items():
            found = (int(one.mask.sum()), one.mask.numel())
            counts.setdefault(modality, []).append(found)
    sums = {modality: np.sum(found, axis=0) for modality, found in counts.items()}
    return {modality: float(real / places) for modality, (real, places) in sums.items()}
