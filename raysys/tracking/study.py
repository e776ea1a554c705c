"""A study as an MLflow run, its trials as nested runs by the parent tag: what is logged, and under which name.

trial    params mu1, mu2, sigma, p, ... (the papers' symbols, or the setting's name); val/ua, ... by epoch, mean over
         the folds; best_val/ua, ... at the end; tags raysys.trial, raysys.state; similarity/*, config.json, balance/*
study    the search settings; best_val/ua over trials (step = trial number); test/..., nested/..., untuned/...,
         difference/... when the study has ended; figures/*, trials.json, result.json, best.yaml

No trial run ever holds a test score: the study opens the chosen one's, on the parent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from raysys.balance import BalancePlan
from raysys.config import Config, to_dict
from raysys.corpus.table import Corpus
from raysys.similarity import Origin, SimilaritySummary
from raysys.storage import Folder
from raysys.tracking.command_run import CommandRun, log_balance, log_similarity
from raysys.tracking.configuration import log_breakdown
from raysys.tracking.nested import NestedRuns

_ENDS = {"": "mean", "_low": "low", "_high": "high"}


class StudyLog(CommandRun):
    """Logs one study and its trials; see `CommandRun` for the arguments.

    Args:
        symbols: setting -> how it is called.
    """

    def __init__(
        self,
        config: Config,
        corpus: Corpus,
        *,
        runs: Folder,
        name: str,
        identity: str,
        run_id: str,
        symbols: Mapping[str, str],
    ) -> None:
        super().__init__(
            config,
            corpus,
            kind="study",
            runs=runs,
            name=name,
            identity=identity,
            run_id=run_id,
        )
        self._corpus = corpus
        self._symbols = symbols
        self._trials = NestedRuns(self, "study")

    def logged_trials(self) -> set[str]:
        """Names of the trials whose runs are complete."""
        return self._trials.ended()

    def trial_started(self, name: str, values: Mapping[str, Any]) -> None:
        """Open the trial's run: the one that it has, when the study was resumed."""
        log = self._trials.start(name)
        log.params({self._symbols.get(key, key): value for key, value in values.items()})

    def trial_point(self, name: str, epoch: int, val: Mapping[str, float]) -> None:
        """Validation scores after an epoch, mean over the folds."""
        self._trials[name].metrics({f"val/{key}": v for key, v in val.items()}, step=epoch)

    def trial_ended(
        self, name: str, state: str, scores: Mapping[str, float], reason: str = ""
    ) -> None:
        """The trial's state and the scores that it ended with."""
        log = self._trials[name]
        log.metrics({f"best_val/{key}": value for key, value in scores.items()})
        if reason:
            log.tags({"raysys.reason": reason})
        self._trials.end(name, state)

    def trial_result(
        self,
        name: str,
        config: Config,
        summary: SimilaritySummary,
        origin: Origin,
        balance: tuple[Sequence[BalancePlan], str] | None,
    ) -> None:
        """Files of a trial that has all its folds: config, averaged matrix, and what mixup added (plans, table)."""
        log = self._trials[name]
        log.json(to_dict(config), "config.json")
        log_similarity(log, summary, self._corpus.emotions, origin, self._corpus.name)
        if balance is not None:
            log_balance(log, *balance, corpus=self._corpus)

    def result(self, result: Mapping[str, Any], figures: Mapping[str, Figure], best: str) -> None:
        """The end of the study.

        Args:
            result: what result.json holds.
            figures: artifact name -> picture.
            best: the best configuration as YAML.
        """
        # A study that was extended has a result at each of its lengths.
        self.log.metrics(_summary_metrics(result), step=len(result["trials"]))
        log_breakdown(self.log, result, self._corpus.emotions)
        self.log.json(result, "result.json")
        self.log.json(result["trials"], "trials.json")
        self.log.file(best.encode(), "best.yaml")
        self.log.tags({"raysys.chosen": result["chosen"]["name"]})
        for name, figure in figures.items():
            self.log.figure(figure, f"figures/{name}.png")

    def finish(self, status: str, *, patience_seconds: float | None = None) -> None:
        """End the study's run, and the runs of trials that it leaves unfinished.

        Raises:
            TrackingError: see `Writer.finish`.
        """
        self._trials.leave()
        super().finish(status, patience_seconds=patience_seconds)


def _summary_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    values = {f"best_val/{k}": v for k, v in result["chosen"]["val"].items()}
    for part in ("test", "nested", "untuned"):
        values |= {f"{part}/{k}": v for k, v in result[part]["mean"].items()}
        values |= {f"{part}/{k}_std": v for k, v in result[part]["std"].items()}
    for metric, difference in result["difference"].items():
        values |= {f"difference/{metric}{end}": difference[key] for end, key in _ENDS.items()}
    values |= {f"seconds/{k}": v for k, v in result["seconds"].items()}
    return {name: value for name, value in values.items() if value is not None}
