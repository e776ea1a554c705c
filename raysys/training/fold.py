"""One fold from a task to its files: the only place where train, val and test meet, in this order.

    FoldTask, CorpusArrays -> train and val parts -> train_fold -> weights that validation chose
                           -> test part (made only now) -> embeddings, probabilities -> files -> FoldResult

Test predictions are stored, not scored: whoever opens a result scores them.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Int64

from raysys.balance import BalancePlan, plan_balance
from raysys.config import Config
from raysys.corpus.folds import Fold
from raysys.corpus.table import target_distributions
from raysys.features.batch import Part, Turns, fit_normaliser, make_part
from raysys.features.normalise import FRAMED, Normaliser
from raysys.features.store import Ragged
from raysys.storage import Folder
from raysys.training.checkpoint import delete_checkpoint
from raysys.training.loop import OnEpoch, TrainedFold, predict, train_fold
from raysys.training.predictions import Predictions, write_predictions
from raysys.training.task import EpochRecord, FoldResult, FoldTask


@dataclass(frozen=True)
class CorpusArrays:
    """What all folds share: features, labels, votes and folds of the corpus, read-only, one copy a node."""

    features: Mapping[str, Ragged]
    labels: Int64[np.ndarray, " utterance"]
    votes: Int64[np.ndarray, "utterance class"]
    """Annotators by emotion; a row of zeros where there are none."""
    folds: tuple[Fold, ...]
    places: Int64[np.ndarray, "utterance 3"] | None = None
    """Dialogue, turn and speaker of every utterance, as numbers; None makes each a dialogue of its own."""


def run_fold(task: FoldTask, arrays: CorpusArrays, on_epoch: OnEpoch) -> FoldResult:
    """Train a fold, predict its test part, write both.

    Returns:
        The result; of a fold whose files are complete already, the one that they hold.

    Raises:
        FoldFailedError: training diverged.
        StorageError: files cannot be written.
    """
    folder = Folder(task.folder)
    finished = read_result(folder)
    if finished:
        for record in finished.history:
            on_epoch(record)
        return finished
    device, fold = _prepare_torch(task.config), arrays.folds[task.fold]
    normalisers = _fit_normalisers(task.config, arrays, fold)
    features = {str(name): arrays.features[name] for name in task.config.model.modalities}
    targets = target_distributions(arrays.labels, arrays.votes, task.config.loss.targets)

    turns = None if arrays.places is None else Turns(*torch.tensor(arrays.places).unbind(dim=1))

    def part(indices: Int64[np.ndarray, " row"]) -> Part:
        return make_part(
            features,
            indices,
            labels=arrays.labels,
            targets=targets,
            normalisers=normalisers,
            device=device,
            turns=turns,
        )

    trained = train_fold(
        task.config,
        fold=task.fold,
        train=_balanced(part(fold.train), task.config, arrays, fold),
        val=part(fold.val),
        similarity=None if task.similarity is None else np.array(task.similarity),
        folder=folder,
        on_epoch=on_epoch,
    )
    result = _result(task, trained)
    if trained.stopped:
        return result
    test = predict(trained.model, part(fold.test), task.config.training.batch_size)
    _write(folder, trained, normalisers, test, result)
    return result


def balance_plan(
    config: Config,
    labels: Int64[np.ndarray, " utterance"],
    votes: Int64[np.ndarray, "utterance class"],
    fold: Fold,
) -> BalancePlan:
    """What is added to a fold's train part, from its labels and votes alone: the same plan in any process."""
    rows = fold.train
    return plan_balance(
        labels[rows], votes[rows], config.balance, seed=config.seed, fold=fold.index
    )


def warm_up() -> None:
    """Let torch load what it loads at its first optimiser step (seconds), before a fold is waiting for it."""
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()


def read_result(folder: Folder) -> FoldResult | None:
    """The result of a finished fold, or None; `fold.json` is written last."""
    if not folder.exists("fold.json"):
        return None
    plain = folder.read_json("fold.json")
    plain["history"] = tuple(EpochRecord(**record) for record in plain["history"])
    return FoldResult(**{**plain, "folder": folder.uri})


def _prepare_torch(config: Config) -> str:
    """Threads, determinism and device of this worker."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(max(1, int(config.cluster.cpus_per_fold)))
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.enable_flash_sdp(False)  # their backward passes are not deterministic
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    wanted = config.training.device
    if wanted != "auto":
        return wanted
    return "cuda" if config.cluster.gpus_per_fold and torch.cuda.is_available() else "cpu"


def _fit_normalisers(config: Config, arrays: CorpusArrays, fold: Fold) -> dict[str, Normaliser]:
    """Statistics of the train part."""
    if config.features.normalise != "train":
        return {}
    framed = [modality for modality in FRAMED if modality in config.model.modalities]
    return {m: fit_normaliser(arrays.features[m], fold.train) for m in framed}


def _balanced(train: Part, config: Config, arrays: CorpusArrays, fold: Fold) -> Part:
    """The train part with the utterances that `balance` adds."""
    plan = balance_plan(config, arrays.labels, arrays.votes, fold)
    if not len(plan):
        return train
    device = train.labels.device
    major, minor, share = (
        torch.from_numpy(column).to(device) for column in (plan.major, plan.minor, plan.share)
    )
    return train.with_mixtures(major, minor, share.float())


def _result(task: FoldTask, trained: TrainedFold) -> FoldResult:
    history, best = trained.progress.history, trained.progress.best_epoch
    return FoldResult(
        trial=task.trial,
        fold=task.fold,
        epochs=len(history),
        best_epoch=best,
        val=history[best - 1].val if best else {},
        history=history,
        seconds=sum(record.seconds for record in history),
        folder=task.folder,
        stopped=trained.stopped,
    )


def _write(
    folder: Folder,
    trained: TrainedFold,
    normalisers: Mapping[str, Normaliser],
    test: Predictions,
    result: FoldResult,
) -> None:
    weights = {name: value.cpu().contiguous() for name, value in trained.model.state_dict().items()}
    for modality, normaliser in normalisers.items():
        weights[f"normaliser/{modality}/mean"] = torch.from_numpy(normaliser.mean)
        weights[f"normaliser/{modality}/std"] = torch.from_numpy(normaliser.std)
    folder.write_bytes("weights.safetensors", safetensors.torch.save(weights))
    write_predictions(folder, test)
    plain = asdict(result)
    del plain["folder"]  # a run folder may be moved
    folder.write_json("fold.json", plain)
    delete_checkpoint(folder)
