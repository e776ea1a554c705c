"""An ablation as an MLflow run, its trials as nested runs: what is logged, and under which name.

trial      as a cross-validation (`raysys.tracking.configuration`), without the folds' weights; tags raysys.trial,
           raysys.variant; params: the variant's settings and its seed
ablation   test/METRIC of every variant (step = its place in the list); result.json, table.txt
"""

from collections.abc import Mapping
from typing import Any

from raysys.config import Config, to_dict
from raysys.corpus.table import Corpus
from raysys.similarity import Origin, SimilaritySummary
from raysys.storage import Folder
from raysys.tracking.command_run import CommandRun
from raysys.tracking.configuration import ConfigurationLog
from raysys.tracking.nested import NestedRuns
from raysys.training.task import EpochRecord


class AblationLog(CommandRun):
    """Logs one ablation and its trials; see `CommandRun` for the arguments."""

    def __init__(
        self, config: Config, corpus: Corpus, *, runs: Folder, name: str, identity: str, run_id: str
    ) -> None:
        super().__init__(
            config,
            corpus,
            kind="ablation",
            runs=runs,
            name=name,
            identity=identity,
            run_id=run_id,
        )
        self._emotions = corpus.emotions
        self._trials = NestedRuns(self, "ablation")
        self._curves: dict[str, ConfigurationLog] = {}

    def epoch(
        self, trial: str, variant: str, config: Config, fold: int, record: EpochRecord, n_folds: int
    ) -> None:
        """One epoch of one fold; a trial's first opens its run."""
        if trial not in self._curves:
            self._start(trial, variant, config, n_folds)
        self._curves[trial].epoch(fold, record)

    def trial_result(
        self,
        trial: str,
        result: Mapping[str, Any],
        similarity: SimilaritySummary,
        origin: Origin,
    ) -> None:
        """The end of a trial that has all its folds."""
        self._curves.pop(trial).result(result, similarity, origin)
        self._trials.end(trial, "COMPLETE")

    def result(self, result: Mapping[str, Any], table: str) -> None:
        """The end of the ablation.

        Args:
            result: what result.json holds.
            table: what the terminal shows.
        """
        for place, variant in enumerate(result["variants"]):
            scores = {f"test/{metric}": v for metric, v in variant["mean"]["test"].items()}
            self.log.metrics(scores, step=place)
        self.log.json(result, "result.json")
        self.log.file(table.encode(), "table.txt")

    def finish(self, status: str, *, patience_seconds: float | None = None) -> None:
        """End the ablation's run, and the runs of trials that it leaves unfinished.

        Raises:
            TrackingError: see `Writer.finish`.
        """
        self._trials.leave()
        super().finish(status, patience_seconds=patience_seconds)

    def _start(self, trial: str, variant: str, config: Config, n_folds: int) -> None:
        log = self._trials.start(trial)
        log.params({**self._settings(variant), "seed": config.seed})
        log.tags({"raysys.variant": variant})
        log.json(to_dict(config), "config.json")
        self._curves[trial] = ConfigurationLog(log, self._emotions, n_folds)

    def _settings(self, variant: str) -> Mapping[str, Any]:
        return self.config.ablation.variants[variant].settings
