"""One epoch: a pass over the train part, and the scores of the val part after it.

shuffled batches -> loss -> Adam;   a model that is fitted at once sees all of them together
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from raysys.batches.batch import Batch, Part
from raysys.batches.masking import mask_audio
from raysys.config import Config
from raysys.losses.objective import Objective
from raysys.models.fitted import Fitted
from raysys.models.tuned import Tuned
from raysys.tasks.task import Task
from raysys.together import jointly
from raysys.training.optimizer import Adam


@dataclass(frozen=True)
class Learner:
    """What training works on: a model, what it minimises, and what its logits mean."""

    model: nn.Module
    optimizer: Adam
    objective: Objective
    fitted: Mapping[str, Tensor]


def train_epoch(learner: Learner, train: Part, config: Config, *, rate: float = 1.0) -> float:
    """One pass over the train part; the mean loss over its utterances.

    Args:
        learner: is changed.
        train: what gradients come from.
        config: everything.
        rate: what the learning rates are multiplied by.
    """
    settings, model, optimizer = config.training, learner.model, learner.optimizer
    if isinstance(model, Fitted):
        every = list(train.batches(settings.batch_size))
        labels = torch.cat([batch.labels for batch in every])
        model.fit([batch.modalities for batch in every], labels)
        return _loss(learner, every)
    model.train()
    rates = (settings.learning_rate, settings.encoder_learning_rate)
    for group, highest in zip(optimizer.groups, rates, strict=True):
        group.learning_rate = highest * rate
    order = torch.Generator().manual_seed(torch.initial_seed())
    total = torch.zeros((), device=train.labels.device)
    dialogues = config.model.chosen.reads_dialogues
    for batch in train.batches(settings.batch_size, dialogues=dialogues, shuffle=order):
        marks = isinstance(model, Tuned) and "audio" in model.tops
        masked = mask_audio(
            batch, time=settings.mask_time, dims=settings.mask_dims, spared=int(marks)
        )
        loss = learner.objective(model(masked.modalities, masked.layout), masked)
        optimizer.zero_grad()
        jointly(_backward, loss, like="backward")
        if settings.gradient_clip:
            nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimizer.step()
        total += loss.detach() * len(batch.labels)
    return float(total) / len(train)


def _backward(losses: Sequence[Tensor]) -> Sequence[None]:
    """Gradients of each fold's weights, by one pass through what they have computed together."""
    torch.autograd.backward(losses)
    return [None] * len(losses)


def _loss(learner: Learner, batches: Sequence[Batch]) -> float:
    """Mean loss of the main term over some utterances."""
    with torch.inference_mode():
        losses = [
            float(learner.objective.validate(learner.model(one.modalities, None), one))
            for one in batches
        ]
    return float(np.average(losses, weights=[len(one.labels) for one in batches]))


def validate(learner: Learner, task: Task, val: Part, config: Config) -> dict[str, float]:
    """Every metric of the task on the val part; loss is that of the main term alone.

    Args:
        learner: as it is.
        task: scores.
        val: the val part.
        config: everything.
    """
    model = learner.model
    model.eval()
    total = torch.zeros((), dtype=torch.float64, device=val.labels.device)
    rows, outputs = [], []
    settings = config.training
    dialogues = config.model.chosen.reads_dialogues
    with torch.inference_mode():
        for batch in val.batches(settings.batch_size, dialogues=dialogues):
            output = model(batch.modalities, batch.layout)
            total += learner.objective.validate(output, batch).double() * len(batch.labels)
            rows.append(batch.rows)
            # doubles keep apart what floats would round to a tie
            outputs.append(task.read(output.logits.double(), learner.fitted))
    order = torch.argsort(torch.cat(rows))
    found = torch.cat(outputs)[order].cpu().numpy()
    return {"loss": float(total) / len(val), **task.score(found, task.truth(val))}
