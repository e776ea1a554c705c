"""An ablation as an MLflow run, its trials as nested runs: what is logged, and under which name.

trial      as a cross-validation (`raysys.tracking.configuration`), without the folds' weights; tags raysys.trial,
           raysys.variant; params: the variant's settings and its seed
ablation   test/METRIC of the first variant, NAME/test/METRIC of the others; result.json, table.txt
"""

from collections.abc import Mapping, Sequence
from typing import Any

from raysys.balance import BalancePlan
from raysys.config import Config, to_dict
from raysys.config.settings import folder_name
from raysys.corpus.table import Corpus
from raysys.similarity import Origin, SimilaritySummary
from raysys.storage import Folder
from raysys.tracking.command_run import CommandRun, log_balance
from raysys.tracking.configuration import ConfigurationLog
from raysys.tracking.nested import NestedRuns
from raysys.tracking.run import RunLog
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
        self._corpus = corpus
        self._emotions = corpus.emotions
        self._expected: dict[str, tuple[str, Config]] = {}
        self._trials = NestedRuns(self, "ablation")
        self._curves: dict[str, ConfigurationLog] = {}

    def trial_expected(self, trial: str, variant: str, config: Config) -> None:
        """A trial that will run; its own run is opened by its first epoch, or its failure."""
        self._expected[trial] = (variant, config)

    def epoch(self, trial: str, fold: int, record: EpochRecord, n_folds: int) -> None:
        """One epoch of one fold."""
        if trial not in self._curves:
            self._curves[trial] = ConfigurationLog(self._start(trial), self._emotions, n_folds)
        self._curves[trial].epoch(fold, record)

    def trial_result(
        self,
        trial: str,
        result: Mapping[str, Any],
        similarity: SimilaritySummary,
        origin: Origin,
        balance: tuple[Sequence[BalancePlan], str] | None,
    ) -> None:
        """The end of a trial that has all its folds; what mixup added is given as plans and table."""
        self._curves.pop(trial).result(result, similarity, origin)
        if balance is not None:
            log_balance(self._trials[trial], *balance, corpus=self._corpus)
        self._trials.end(trial, "COMPLETE")

    def trial_failed(self, trial: str, reason: str) -> None:
        """The end of a trial that lacks a fold."""
        log = self._trials[trial] if self._curves.pop(trial, None) else self._start(trial)
        log.tags({"raysys.reason": reason})
        self._trials.end(trial, "FAILED")

    def result(self, result: Mapping[str, Any], table: str) -> None:
        """The end of the ablation.

        Args:
            result: what result.json holds.
            table: what the terminal shows.
        """
        for place, variant in enumerate(result["variants"]):
            prefix = f"{folder_name(variant['name'])}/" if place else ""
            scores = {f"{prefix}test/{metric}": v for metric, v in variant["mean"]["test"].items()}
            self.log.metrics(scores)
        self.log.json(result, "result.json")
        self.log.file(table.encode(), "table.txt")

    def finish(self, status: str, *, patience_seconds: float | None = None) -> None:
        """End the ablation's run, and the runs of trials that it leaves unfinished.

        Raises:
            TrackingError: see `Writer.finish`.
        """
        self._trials.leave()
        super().finish(status, patience_seconds=patience_seconds)

    def _start(self, trial: str) -> RunLog:
        variant, config = self._expected[trial]
        log = self._trials.start(trial)
        log.params({**self.config.ablation.variants[variant].settings, "seed": config.seed})
        log.tags({"raysys.variant": variant})
        log.json(to_dict(config), "config.json")
        return log
