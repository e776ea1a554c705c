"""A configuration on all its folds, in one MLflow run: what is logged, and under which name.

epochs   fold_K/val/ua, fold_K/train/loss, ... per epoch; val/ua, ... the mean over all folds that reached it
result   test/ua, test/ua_std, best_val/ua, baseline/ua, fold_K/test/ua, test/f1/EMOTION, seconds/..., efficiency
files    result.json, similarity/*, confusion/*, by_emotion.json, by_speaker.json, by_emotion_and_speaker.png
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from raysys.similarity import Origin, SimilaritySummary
from raysys.tracking.command_run import log_similarity
from raysys.tracking.figures import breakdown_figure, confusion_figure
from raysys.tracking.run import RunLog
from raysys.training.task import EpochRecord

_CURVES = ("loss", "wa", "ua", "weighted_f1")


class ConfigurationLog:
    """Logs into a run that is open.

    Args:
        log: of the run.
        emotions: the classes, in order.
        n_folds: folds of the configuration.
    """

    def __init__(self, log: RunLog, emotions: tuple[str, ...], n_folds: int) -> None:
        self._log = log
        self._emotions = emotions
        self._n_folds = n_folds
        self._epochs: dict[int, dict[int, EpochRecord]] = {}

    def epoch(self, fold: int, record: EpochRecord) -> None:
        """One epoch of one fold, and the mean curve as soon as all folds have reached that epoch."""
        values = {f"val/{name}": record.val[name] for name in _CURVES}
        values["train/loss"] = record.train_loss
        self._log.metrics({f"fold_{fold}/{k}": v for k, v in values.items()}, step=record.epoch)
        reached = self._epochs.setdefault(record.epoch, {})
        reached[fold] = record
        if len(reached) == self._n_folds:
            means = {
                f"val/{name}": float(np.mean([r.val[name] for r in reached.values()]))
                for name in _CURVES
            }
            means["train/loss"] = float(np.mean([r.train_loss for r in reached.values()]))
            self._log.metrics(means, step=record.epoch)

    def result(
        self, result: Mapping[str, Any], similarity: SimilaritySummary, origin: Origin
    ) -> None:
        """Numbers, matrices and pictures of a finished configuration, as result.json holds them."""
        self._log.metrics(_summary_metrics(result))
        self._log.json(result, "result.json")
        log_similarity(self._log, similarity, self._emotions, origin, result["corpus"])
        log_breakdown(self._log, result, self._emotions)


def log_breakdown(log: RunLog, result: Mapping[str, Any], emotions: tuple[str, ...]) -> None:
    """Scores by emotion and speaker, and confusions, of all test utterances (see `raysys.report.break_down`)."""
    rows = enumerate(result["per_class"].items())
    log.metrics({f"test/f1/{_key(emotion, k)}": row["f1"] for k, (emotion, row) in rows})
    title = f"{result['corpus']}: test predictions of all folds"
    counts = np.array(result["confusion"])
    log.figure(confusion_figure(counts, emotions, title), "confusion/test.png")
    log.json({"emotions": emotions, "test": result["confusion"]}, "confusion/test.json")
    log.json(result["per_class"], "by_emotion.json")
    log.json(result["speakers"], "by_speaker.json")
    picture = breakdown_figure(result["per_class"], result["speakers"], title)
    log.figure(picture, "by_emotion_and_speaker.png")


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


def _key(emotion: str, place: int) -> str:
    """An emotion's name where MLflow takes it in a metric's, else its place among the emotions."""
    return emotion if re.fullmatch(r"[\w\-. ]+", emotion, flags=re.ASCII) else f"class_{place}"
