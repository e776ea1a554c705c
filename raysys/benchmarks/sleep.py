"""Folds that sleep their epochs; without torch, so that a machine holds many workers of them."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysys.predictions import Predictions, write_predictions
from raysys.storage import Folder
from raysys.training.records import EpochRecord, FoldResult, FoldTask

EMOTIONS = ("anger", "calm", "fear", "joy", "sadness")
_UTTERANCES, _WIDTH = 100, 64


@dataclass(frozen=True)
class Sleep:
    """What all folds share: how long they take."""

    epochs: int
    epoch_seconds: float
    stored: tuple[str, str]
    """What the task calls outputs and truth."""


def sleep_fold(task: FoldTask, sleep: Sleep, on_epoch: Any) -> FoldResult:
    """A fold whose epochs take their time; its test embeddings are random.

    Args:
        task: whose config is the score that it reaches.
        sleep: what all share.
        on_epoch: called after every epoch; returns whether to go on.
    """
    history = []
    for epoch in range(1, sleep.epochs + 1):
        time.sleep(sleep.epoch_seconds)
        score = task.config * epoch / sleep.epochs
        val = {"loss": 1 - score, "wa": score, "ua": score, "weighted_f1": score}
        history.append(EpochRecord(epoch, 1 - score, val, sleep.epoch_seconds))
        if not on_epoch(history[-1]):
            break
    random = np.random.default_rng(task.fold)
    outputs = random.dirichlet(np.ones(len(EMOTIONS)), _UTTERANCES).astype(np.float32)
    embeddings = random.standard_normal((_UTTERANCES, _WIDTH)).astype(np.float32)
    said = Predictions(embeddings, outputs, np.arange(_UTTERANCES) % len(EMOTIONS))
    write_predictions(Folder(task.folder), said, sleep.stored)
    return FoldResult(
        task.trial,
        task.fold,
        len(history),
        len(history),
        history[-1].val,
        tuple(history),
        task.folder,
        stopped=len(history) < sleep.epochs,
        seed=task.seed,
    )
