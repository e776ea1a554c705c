"""One fold from a task to its bundle: the only place where train, val and test meet, in this order.

    FoldTask, FoldData -> train and val parts -> train_fold: epochs of (shuffled batches -> loss -> Adam) -> val score
                       -> weights of the best epoch, or the last -> bundle
                       -> test part (made only now) -> embeddings, outputs -> files -> FoldResult

`train_fold` is given train and val, and cannot reach test. Test predictions are stored, not scored: whoever opens a
result scores them.
"""

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from raysys import gpu, together
from raysys.batches.batch import Part
from raysys.batches.normalise import Normaliser
from raysys.config import Config
from raysys.corpus.folds import Fold
from raysys.encoders.encoder import FRAMED
from raysys.encoders.top_layers import TopRecipe
from raysys.errors import DamagedError, FoldFailedError, GpuLostError
from raysys.models.tuned import Tuned
from raysys.predictions import prediction_files, write_predictions
from raysys.sealed import check_files, digests_of, read_sealed, write_sealed
from raysys.settings import replaced
from raysys.similarity.prior import FoldPrior
from raysys.storage import Folder, with_nan
from raysys.tasks.task import Metric, Task
from raysys.training.arithmetic import settle
from raysys.training.bundle import (
    FILES,
    Bundle,
    build_model,
    earlier_fold,
    go_on_from,
    save_bundle,
)
from raysys.training.checkpoint import (
    Progress,
    delete_checkpoint,
    load_checkpoint,
    save_checkpoint,
    stream_seed,
)
from raysys.training.cost import Meter
from raysys.training.epoch import Learner, train_epoch, validate
from raysys.training.optimizer import Adam, Group
from raysys.training.parts import FoldData, Parts, balanced
from raysys.training.records import EpochRecord, FoldResult, FoldTask
from raysys.training.schedule import rate_factor
from raysys.training.share import shared_folds

_REFIT = "refit"
"""Below a fold's folder: the checkpoint of its model on train and val."""
OnEpoch = Callable[[EpochRecord], bool]
"""Called after every epoch; False stops the fold."""


@dataclass(frozen=True)
class TrainedFold:
    """A model with the weights that are kept, and how it came to them."""

    learner: Learner
    progress: Progress
    stopped: bool
    """Whether `on_epoch` asked to stop before training was over."""
    redone: str = ""
    """Why it did not go on from its checkpoint."""


def run_fold(fold_task: FoldTask, data: FoldData, on_epoch: OnEpoch) -> FoldResult:
    """Train a fold, predict its test part, write both.

    Where a GPU has no memory left, the fold goes on from its checkpoint with frames that are read batch by batch: the
    same numbers, more slowly.

    Returns:
        The result; of a fold whose files are complete already, the one that they hold.

    Raises:
        FoldFailedError: training diverged, or a GPU's memory does not do.
        GpuError: a GPU is asked for and cannot be used.
        GpuLostError: CUDA cannot be used any more in this process.
        StorageError: files cannot be written.
    """
    streamed = replaced(fold_task.config, {"training.resident_gb": 0.0})
    for config in (fold_task.config, streamed):
        try:
            return _run_fold(replace(fold_task, config=config), data, on_epoch)
        except RuntimeError as error:  # what PyTorch raises
            if gpu.is_spoilt(error):
                raise GpuLostError(f"the GPU cannot be used any more: {error}") from error
            if not gpu.is_out_of_memory(error):
                raise
            told = " ".join(str(error).split())[:200]
        gpu.release()  # out of the handler, whose traceback holds the tensors
    raise FoldFailedError(
        f"the GPU has too little memory, also with frames read batch by batch ({told}): lower --training.batch_size, "
        "raise --cluster.gpus_per_fold, or set --training.gradient_checkpointing true"
    )


def run_fold_together(fold_task: FoldTask, data: FoldData, on_epoch: OnEpoch) -> FoldResult:
    """As `run_fold`, together with the folds that other threads of this process train so."""
    with together.seated():
        return run_fold(fold_task, data, on_epoch)


def _run_fold(fold_task: FoldTask, data: FoldData, on_epoch: OnEpoch) -> FoldResult:
    """See `run_fold`."""
    folder, config, redone = Folder(fold_task.folder), fold_task.config, ""
    try:
        finished = read_result(folder)
    except DamagedError as damage:
        finished, redone = None, str(damage)
    if finished:
        for record in finished.history:
            on_epoch(replace(record, seconds=0.0))
        return finished
    device, fold = settle(config), _fold_of(fold_task, data)
    meter = Meter(device)
    part = Parts.of(config, data, fold, device)
    trained = _train(fold_task, config, data, part, fold, folder, on_epoch)
    result = _result(fold_task, trained, redone or trained.redone)
    if not trained.stopped:
        bundle = _bundle(config, data, trained.learner, part.normalisers)
        said = bundle.predict(part(fold.val)) if _asks_val(config, data.task) else None
        if config.training.refit:
            bundle, part = _refitted(fold_task, data, result, device)
        if config.training.temperature and said is not None:
            calibrated = fold_task.calibrated or data.task.calibrate(said)
            result = replace(result, calibrated=calibrated)
            more = {name: torch.tensor(value, device=device) for name, value in calibrated.items()}
            bundle = replace(bundle, fitted={**bundle.fitted, **more})
        save_bundle(folder, bundle)
        with together.alone():  # its time is measured
            test, cost = meter.predict(
                bundle, part(fold.test), lambda count: part(fold.test[:count], on="cpu")
            )
        result = replace(result, cost=cost)
        write_predictions(folder, test, data.task.stored)
        if data.task.measures and said is not None:
            result = replace(result, measured=data.task.measure(said))
        plain = asdict(result)
        del plain["folder"], plain["redone"]  # a run folder may be moved
        files = digests_of(folder, [*FILES, *prediction_files(data.task.stored)])
        write_sealed(folder, "fold.json", {**plain, "files": files})  # last: the fold is whole
        delete_checkpoint(folder)
        delete_checkpoint(folder / _REFIT)
    return result


def _fold_of(fold_task: FoldTask, data: FoldData) -> Fold:
    """The fold, with the share of its train part that is trained on."""
    own = (data.folds[fold_task.fold],)
    return shared_folds(own, fold_task.config, data.task, data.targets, data.places)[0]


def _asks_val(config: Config, task: Task) -> bool:
    """Whether what a model says of its val part is asked for."""
    return config.training.temperature or task.measures


def _train(
    fold_task: FoldTask,
    config: Config,
    data: FoldData,
    part: Parts,
    fold: Fold,
    folder: Folder,
    on_epoch: OnEpoch,
) -> TrainedFold:
    """`train_fold` on the parts of a fold."""
    return train_fold(
        config,
        data.task,
        fold=fold_task.fold,
        train=balanced(part.train(fold), config, data, fold),
        val=part(fold.val),
        prior=fold_task.prior,
        folder=folder,
        on_epoch=on_epoch,
        tops=data.tops_of(config),
    )


def _refitted(
    fold_task: FoldTask, data: FoldData, kept: FoldResult, device: str
) -> tuple[Bundle, Parts]:
    """The fold's model again, on train and val, for as many epochs as were kept; nothing scores it before test."""
    own, fold = fold_task.config, _fold_of(fold_task, data)
    training = replace(own.training, keep="last", max_epochs=kept.best_epoch)
    config = replace(own, training=training)
    both = replace(fold, train=np.sort(np.concatenate([fold.train, fold.val])))
    part = Parts.of(config, data, both, device)
    folder = Folder(fold_task.folder) / _REFIT
    again = _train(fold_task, config, data, part, both, folder, lambda record: True)
    return _bundle(own, data, again.learner, part.normalisers), part


def train_fold(
    config: Config,
    task: Task,
    *,
    fold: int,
    train: Part,
    val: Part,
    prior: FoldPrior | None,
    folder: Folder,
    on_epoch: OnEpoch,
    tops: Mapping[str, TopRecipe] | None = None,
) -> TrainedFold:
    """Train one fold, resuming from its checkpoint when there is one.

    Args:
        config: everything; `seed` and `fold` decide all randomness.
        task: what is predicted.
        fold: index of the fold.
        train: what gradients come from.
        val: what the epochs are scored on.
        prior: what the objective knows beforehand: S of the emotion-aware term, or where an emotion space is.
        folder: where the checkpoint is.
        on_epoch: called for every epoch, those of a resumed history included; its answer can stop the fold.
        tops: modality -> layers of its encoder that are trained with the model.

    Raises:
        FoldFailedError: the loss is not finite, or val has no score of the kind that `training.select` names.
        StorageError: the checkpoint cannot be written.
    """
    settings, chooser = config.training, config.chooser
    learner = make_learner(config, task, fold=fold, train=train, prior=prior, tops=tops or {})
    model, optimizer = learner.model, learner.optimizer
    redone = ""
    try:
        progress, best = load_checkpoint(folder, model=model, optimizer=optimizer)
    except DamagedError as damage:
        redone = str(damage)
        delete_checkpoint(folder)
        learner = make_learner(config, task, fold=fold, train=train, prior=prior, tops=tops or {})
        model, optimizer, progress, best = learner.model, learner.optimizer, Progress(), {}
    go_on = True
    for record in progress.history:
        go_on = on_epoch(replace(record, seconds=0.0)) and go_on
    while go_on and not _is_over(progress, config):
        epoch = progress.epoch + 1
        started = time.perf_counter()
        torch.manual_seed(stream_seed(config.seed, fold, epoch))
        losses = [record.val["loss"] for record in progress.history]
        rate = rate_factor(settings, epoch, losses)
        loss = train_epoch(learner, train, config, rate=rate)
        _refuse_divergence(loss, epoch)
        scores = validate(learner, task, val, config)
        _refuse_unknown(scores.get(config.selects.name, math.nan), config.selects)
        record = EpochRecord(epoch, loss, scores, time.perf_counter() - started)
        improved = (
            chooser is None or not best or chooser.rank(scores) > chooser.rank(_best(progress).val)
        )
        if improved:
            best = copy.deepcopy(model.state_dict())
        progress = Progress((*progress.history, record), epoch if improved else progress.best_epoch)
        go_on = on_epoch(record)
        if not go_on or epoch % settings.checkpoint_every == 0:
            save_checkpoint(folder, progress, model=model, optimizer=optimizer, best=best)
    if best:
        model.load_state_dict(best)
    return TrainedFold(learner, progress, not _is_over(progress, config), redone)


def _refuse_divergence(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise FoldFailedError(
            f"the training loss is {loss} in epoch {epoch}: lower --training.learning_rate, or clip "
            "with --training.gradient_clip"
        )


def _refuse_unknown(score: float, metric: Metric) -> None:
    if math.isnan(score):
        raise FoldFailedError(
            f"val has no {metric.name}, by which training is judged: set --training.select to another score, such as "
            "loss"
        )


def read_result(folder: Folder) -> FoldResult | None:
    """The result of a finished fold whose files are whole, or None; `fold.json` is written last.

    Raises:
        DamagedError: it has been finished, and something of it is damaged.
    """
    if not folder.exists("fold.json"):
        return None
    plain = read_sealed(folder, "fold.json")
    check_files(folder, plain.pop("files"))
    plain["history"] = tuple(
        EpochRecord(**{**record, "val": with_nan(record["val"])}) for record in plain["history"]
    )
    plain["val"] = with_nan(plain["val"])
    return FoldResult(**{**plain, "folder": folder.uri})


def make_learner(
    config: Config,
    task: Task,
    *,
    fold: int,
    train: Part,
    prior: FoldPrior | None,
    tops: Mapping[str, TopRecipe],
) -> Learner:
    """A model as it is before the first epoch, with what trains it; arguments are those of `train_fold`."""
    settings = config.training
    torch.manual_seed(stream_seed(config.seed, fold, 0))
    model = build_model(config, dims=train.dims, n_outputs=task.width, tops=tops)
    task.begin(model, prior)
    if config.training.start_from:
        go_on_from(model, earlier_fold(config, config.seed, fold))
    model = model.to(train.labels.device)
    if isinstance(model, Tuned) and config.features.normalise == "train":
        model.fit(train, [m for m in FRAMED if m in tops], settings.batch_size)
    above = list(model.tops.parameters()) if isinstance(model, Tuned) else []
    known = {id(weights) for weights in above}
    groups = [
        Group([one for one in model.parameters() if id(one) not in known], settings.learning_rate),
        Group([one for one in above if one.requires_grad], settings.encoder_learning_rate),
    ]
    optimizer = Adam(groups, settings.weight_decay)
    fitted = task.fit(train, prior)
    smoothing = settings.label_smoothing
    objective = task.objective(config.loss, train, fitted, prior=prior, label_smoothing=smoothing)
    return Learner(model, optimizer, objective, fitted)


def _bundle(
    config: Config, data: FoldData, learner: Learner, normalisers: Mapping[str, Normaliser]
) -> Bundle:
    modalities = config.model.modalities
    return Bundle(
        config,
        data.task,
        {m: data.features[m].dim for m in modalities},
        {m: data.encoders[m] for m in modalities if m in data.encoders},
        learner.model,
        normalisers,
        learner.fitted,
        data.tops_of(config),
    )


def _result(fold_task: FoldTask, trained: TrainedFold, redone: str) -> FoldResult:
    history, best = trained.progress.history, trained.progress.best_epoch
    return FoldResult(
        trial=fold_task.trial,
        fold=fold_task.fold,
        epochs=len(history),
        best_epoch=best,
        val=history[best - 1].val if best else {},
        history=history,
        folder=fold_task.folder,
        stopped=trained.stopped,
        seed=fold_task.seed,
        redone=redone,
    )


def _is_over(progress: Progress, config: Config) -> bool:
    waited = progress.epoch - progress.best_epoch
    return progress.epoch >= config.epochs or waited >= config.training.patience


def _best(progress: Progress) -> EpochRecord:
    return progress.history[progress.best_epoch - 1]
