"""The training loop of one fold, from parts to the best weights. It is given train and val, and cannot reach test.

Part(train), Part(val) -> epochs of (shuffled batches -> loss -> Adam) -> val score -> best weights, early stop
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from raysys.config import Config, TrainingConfig
from raysys.errors import FoldFailedError, lookup
from raysys.features.batch import Batch, Padded, Part
from raysys.losses import Objective, balanced_class_weights, class_counts
from raysys.models import MODELS
from raysys.storage import Folder
from raysys.training.checkpoint import (
    Progress,
    load_checkpoint,
    save_checkpoint,
    stream_seed,
)
from raysys.training.metrics import score
from raysys.training.predictions import Predictions
from raysys.training.task import EpochRecord, rank

OnEpoch = Callable[[EpochRecord], bool]
"""Called after every epoch; False stops the fold."""


@dataclass(frozen=True)
class TrainedFold:
    """A model with the weights that validation chose, and how it came to them."""

    model: nn.Module
    progress: Progress
    stopped: bool
    """Whether `on_epoch` asked to stop before training was over."""


def train_fold(
    config: Config,
    *,
    fold: int,
    train: Part,
    val: Part,
    similarity: Float[np.ndarray, "class class"] | None,
    folder: Folder,
    on_epoch: OnEpoch,
) -> TrainedFold:
    """Train one fold, resuming from its checkpoint when there is one.

    Args:
        config: everything; `seed` and `fold` decide all randomness.
        fold: index of the fold.
        train: what gradients come from.
        val: what chooses the epoch.
        similarity: S of the emotion-aware term, if it is on.
        folder: where the checkpoint is.
        on_epoch: told of every epoch, those of a resumed history included; its answer can stop the fold.

    Raises:
        FoldFailedError: the loss is not finite.
        StorageError: the checkpoint is damaged or cannot be written.
    """
    settings, n_classes = config.training, train.targets.shape[1]
    torch.manual_seed(stream_seed(config.seed, fold, 0))
    builder = lookup(MODELS, config.model.name, kind="model")
    device = train.labels.device
    model = builder(config.model, dims=train.dims, n_classes=n_classes).to(device)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    objective = _objective(config, train, similarity)
    progress, best = load_checkpoint(folder, model=model, optimizer=optimizer)
    go_on = True
    for record in progress.history:
        go_on = on_epoch(record) and go_on
    while go_on and not _is_over(progress, settings):
        epoch = progress.epoch + 1
        started = time.perf_counter()
        torch.manual_seed(stream_seed(config.seed, fold, epoch))
        loss = _train_epoch(model, optimizer, objective, train, settings, epoch)
        if not math.isfinite(loss):
            raise FoldFailedError(
                f"the training loss is {loss} in epoch {epoch}: lower --training.learning_rate, or clip "
                "with --training.gradient_clip"
            )
        val_scores = _validate(model, objective, val, settings.batch_size)
        record = EpochRecord(epoch, loss, val_scores, time.perf_counter() - started)
        select = settings.select
        improved = not best or rank(val_scores, select) > rank(_best(progress).val, select)
        if improved:
            best = copy.deepcopy(model.state_dict())
        progress = Progress((*progress.history, record), epoch if improved else progress.best_epoch)
        go_on = on_epoch(record)
        if not go_on or epoch % settings.checkpoint_every == 0:
            save_checkpoint(folder, progress, model=model, optimizer=optimizer, best=best)
    if best:
        model.load_state_dict(best)
    return TrainedFold(model, progress, stopped=not _is_over(progress, settings))


def predict(model: nn.Module, part: Part, batch_size: int) -> Predictions:
    """Embeddings and class probabilities of every utterance of a part."""
    model.eval()
    pieces = []
    with torch.inference_mode():
        for batch in part.batches(batch_size, dialogues=_reads_dialogues(model)):
            output = model(batch.modalities, batch.layout)
            pieces.append((batch.rows, output.embedding, output.logits.softmax(dim=1)))
    rows, embeddings, probabilities = (
        torch.cat(column).cpu() for column in zip(*pieces, strict=True)
    )
    order = torch.argsort(rows)
    return Predictions(
        embeddings[order].float().numpy(),
        probabilities[order].float().numpy(),
        part.labels.cpu().numpy(),
    )


def _objective(config: Config, train: Part, similarity: np.ndarray | None) -> Objective:
    n_classes, device = train.targets.shape[1], train.labels.device
    weights = torch.ones(n_classes, device=device)
    if config.loss.class_weights:
        weights = balanced_class_weights(train.labels, n_classes)
    matrix = None
    if similarity is not None:
        matrix = torch.tensor(similarity, dtype=torch.float32, device=device)
    counts = class_counts(train.labels, n_classes)
    return Objective(config.loss, weights, counts, matrix, config.training.label_smoothing)


def _reads_dialogues(model: nn.Module) -> bool:
    """What the model says of itself; see `raysys.models.output.ModelBuilder`."""
    return bool(model.reads_dialogues)


def _is_over(progress: Progress, settings: TrainingConfig) -> bool:
    waited = progress.epoch - progress.best_epoch
    return progress.epoch >= settings.max_epochs or waited >= settings.patience


def _best(progress: Progress) -> EpochRecord:
    return progress.history[progress.best_epoch - 1]


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    train: Part,
    settings: TrainingConfig,
    epoch: int,
) -> float:
    """One pass over the train part; the mean loss over its utterances."""
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = _learning_rate(settings, epoch)
    order = torch.Generator().manual_seed(torch.initial_seed())
    total = torch.zeros((), device=train.labels.device)
    dialogues = _reads_dialogues(model)
    for batch in train.batches(settings.batch_size, dialogues=dialogues, shuffle=order):
        masked = _mask_audio(batch, settings)
        loss = objective(model(masked.modalities, masked.layout), masked)
        optimizer.zero_grad()
        loss.backward()
        if settings.gradient_clip:
            nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimizer.step()
        total += loss.detach() * len(batch.labels)
    return float(total) / len(train)


def _learning_rate(settings: TrainingConfig, epoch: int) -> float:
    if settings.lr_schedule == "constant":
        return settings.learning_rate
    return (
        settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / settings.max_epochs))
    )


def _mask_audio(batch: Batch, settings: TrainingConfig) -> Batch:
    """SpecAugment (Park et al. 2019, arXiv:1904.08779) without warping: one masked stretch of frames and of columns.

    Masked values become 0, the mean of normalised frames; lengths and masks stay.
    """
    if "audio" not in batch.modalities or not (settings.mask_time or settings.mask_dims):
        return batch
    audio = batch.modalities["audio"]
    values, lengths = audio.values, audio.mask.sum(dim=1)
    dims = torch.full_like(lengths, values.shape[2])
    time = _random_stretch(lengths, settings.mask_time, values.shape[1])
    columns = _random_stretch(dims, settings.mask_dims, values.shape[2])
    kept = values * ~time[:, :, None] * ~columns[:, None, :]
    modalities = {**batch.modalities, "audio": Padded(kept, audio.mask)}
    return replace(batch, modalities=modalities)


def _random_stretch(lengths: Tensor, share: float, size: int) -> Tensor:
    """Per row, True on a random stretch of up to `share` of its length: [batch, size]."""
    width = torch.rand(len(lengths), device=lengths.device) * share * lengths
    start = torch.rand(len(lengths), device=lengths.device) * (lengths - width)
    position = torch.arange(size, device=lengths.device)
    return (position >= start[:, None]) & (position < (start + width)[:, None])


def _validate(
    model: nn.Module, objective: Objective, val: Part, batch_size: int
) -> dict[str, float]:
    model.eval()
    total, rows, predicted = 0.0, [], []
    with torch.inference_mode():
        for batch in val.batches(batch_size, dialogues=_reads_dialogues(model)):
            output = model(batch.modalities, batch.layout)
            total += float(objective.classification(output, batch)) * len(batch.labels)
            rows.append(batch.rows)
            predicted.append(output.logits.argmax(dim=1))
    labels = val.labels[torch.cat(rows)].cpu().numpy()
    return {"loss": total / len(val), **score(labels, torch.cat(predicted).cpu().numpy())}
