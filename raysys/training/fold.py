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
from jaxtyping import Float32, Int64

from raysys.config import Config
from raysys.corpus.folds import Fold
from raysys.features.batch import Part, fit_normaliser, make_part
from raysys.features.normalise import Normaliser
from raysys.features.store import Ragged
from raysys.storage import Folder
from raysys.training.checkpoint import EpochRecord, delete_checkpoint
from raysys.training.loop import OnEpoch, TrainedFold, predict, train_fold
from raysys.training.predictions import Predictions, write_predictions


@dataclass(frozen=True)
class CorpusArrays:
    """What all folds share: features and targets of the whole corpus, read-only, one copy a node."""

    features: Mapping[str, Ragged]
    labels: Int64[np.ndarray, " utterance"]
    targets: Float32[np.ndarray, "utterance class"]


@dataclass(frozen=True)
class FoldTask:
    """One fold of one configuration, small enough to send anywhere."""

    trial: str
    fold: Fold
    config: Config
    folder: str
    """Absolute path or URI of the fold's own folder."""
    similarity: tuple[tuple[float, ...], ...] | None = None
    """S of the emotion-aware term, row by row."""

    @property
    def key(self) -> tuple[str, int]:
        """What identifies the task: (trial, fold)."""
        return self.trial, self.fold.index


@dataclass(frozen=True)
class FoldResult:
    """What is known of a trained fold without looking at its test part."""

    trial: str
    fold: int
    epochs: int
    best_epoch: int
    val: dict[str, float]
    """Validation scores of the best epoch."""
    history: tuple[EpochRecord, ...]
    seconds: float
    """Training: the sum over its epochs, whichever worker did them."""
    folder: str
    stopped: bool = False


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
    device = _prepare_torch(task.config)
    normalisers = _fit_normalisers(task, arrays)

    def part(indices: Int64[np.ndarray, " row"]) -> Part:
        return make_part(
            arrays.features,
            indices,
            labels=arrays.labels,
            targets=arrays.targets,
            normalisers=normalisers,
            device=device,
        )

    trained = train_fold(
        task.config,
        fold=task.fold.index,
        train=part(task.fold.train),
        val=part(task.fold.val),
        similarity=None if task.similarity is None else np.array(task.similarity),
        folder=folder,
        on_epoch=on_epoch,
    )
    result = _result(task, trained)
    if trained.stopped:
        return result
    test = predict(trained.model, part(task.fold.test), task.config.training.batch_size)
    _write(folder, trained, normalisers, test, result)
    return result


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


def _fit_normalisers(task: FoldTask, arrays: CorpusArrays) -> dict[str, Normaliser]:
    """Statistics of the train part, for audio; tokens keep their encoder's scale."""
    if task.config.features.normalise != "train" or "audio" not in arrays.features:
        return {}
    return {"audio": fit_normaliser(arrays.features["audio"], task.fold.train)}


def _result(task: FoldTask, trained: TrainedFold) -> FoldResult:
    history, best = trained.progress.history, trained.progress.best_epoch
    return FoldResult(
        trial=task.trial,
        fold=task.fold.index,
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
