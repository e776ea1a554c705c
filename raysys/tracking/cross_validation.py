"""A cross-validation as one MLflow run: what is logged, and under which name.

epochs   fold_K/val/ua, fold_K/train/loss, ... per epoch; val/ua, ... the mean over all folds that reached it
result   test/ua, test/ua_std, best_val/ua, baseline/ua, fold_K/test/ua, seconds/..., efficiency
files    config.json, audit.json, folds.json, result.json, similarity/*, confusion/*, balance/*,
         folds/fold_K/weights.safetensors
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from raysys.config import Config
from raysys.corpus.table import Corpus
from raysys.similarity import Origin, SimilaritySummary
from raysys.storage import Folder
from raysys.tracking.command_run import CommandRun, log_similarity
from raysys.tracking.figures import confusion_figure
from raysys.training.task import EpochRecord

_CURVES = ("loss", "wa", "ua", "weighted_f1")


class CrossValidationLog(CommandRun):
    """Logs one cross-validation; see `CommandRun` for the arguments."""

    def __init__(
        self, config: Config, corpus: Corpus, *, runs: Folder, name: str, identity: str, run_id: str
    ) -> None:
        kind = "cross_validation"
        super().__init__(
            config, corpus, kind=kind, runs=runs, name=name, identity=identity, run_id=run_id
        )
        self._epochs: dict[int, dict[int, EpochRecord]] = {}
        self._emotions = corpus.emotions

    def epoch(self, fold: int, record: EpochRecord, n_folds: int) -> None:
        """One epoch of one fold, and the mean curve as soon as all folds have reached that epoch."""
        values = {f"val/{name}": record.val[name] for name in _CURVES}
        values["train/loss"] = record.train_loss
        self.log.metrics({f"fold_{fold}/{k}": v for k, v in values.items()}, step=record.epoch)
        reached = self._epochs.setdefault(record.epoch, {})
        reached[fold] = record
        if len(reached) == n_folds:
            means = {
                f"val/{name}": float(np.mean([r.val[name] for r in reached.values()]))
                for name in _CURVES
            }
            means["train/loss"] = float(np.mean([r.train_loss for r in reached.values()]))
            self.log.metrics(means, step=record.epoch)

    def result(
        self,
        result: Mapping[str, Any],
        similarity: SimilaritySummary,
        origin: Origin,
        confusion: np.ndarray,
        folders: Mapping[int, Folder],
    ) -> None:
        """The numbers, matrices, pictures and weights of a finished run."""
        self.log.metrics(_summary_metrics(result))
        self.log.json(result, "result.json")
        log_similarity(self.log, similarity, self._emotions, origin, result["corpus"])
        title = f"{result['corpus']}: test predictions of all folds"
        self.log.figure(confusion_figure(confusion, self._emotions, title), "confusion/test.png")
        self.log.json(
            {"emotions": self._emotions, "test": confusion.tolist()}, "confusion/test.json"
        )
        for fold, folder in folders.items():
            weights = folder.read_bytes("weights.safetensors")
            self.log.file(weights, f"folds/fold_{fold}/weights.safetensors")


def _summary_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, mean in result["mean"]["test"].items():
        values[f"test/{name}"] = mean
        values[f"test/{name}_std"] = result["std"]["test"][name]
        values[f"best_val/{name}"] = result["mean"]["val"][name]
        values[f"baseline/{name}"] = result["mean"]["baseline"][name]
    for fold in result["folds"]:
        values |= {f"fold_{fold['fold']}/test/{name}": v for name, v in fold["test"].items()}
    values |= {f"seconds/{name}": v for name, v in result["seconds"].items()}
    return {name: value for name, value in values.items() if value is not None}
