"""A study whose folds sleep for a second each: everything but the training is real."""

import time
from typing import Any

from rich.console import Console

from raysys.cluster.pool import FoldPool
from raysys.config import Config
from raysys.config.running import ClusterConfig, Distribution, SearchConfig
from raysys.corpus.table import Corpus, Utterance
from raysys.experiments.runner import TrialRunner
from raysys.experiments.sources import SearchSource
from raysys.search.journal import Journal
from raysys.search.scheduler import Scheduler
from raysys.search.searcher import StudySearcher
from raysys.search.space import make_space
from raysys.settings import replaced
from raysys.storage import Folder
from raysys.tracking.command_log import CommandLog
from raysys.training.records import EpochRecord, FoldResult, FoldTask
from raysys.trials.trial import Trial

_FOLDS = 5
_TRIALS = 12
_IN_FLIGHT = 3
_EPOCHS = 10
_FOLD_SECONDS = 1.0


def sleep_fold(task: FoldTask, shared: None, on_epoch: Any) -> FoldResult:
    """A fold of ten epochs that take a tenth of a second each and learn nothing."""
    history = []
    for epoch in range(1, _EPOCHS + 1):
        time.sleep(_FOLD_SECONDS / _EPOCHS)
        score = task.config.loss.mu1 * epoch / _EPOCHS
        val = {"loss": 1 - score, "wa": score, "ua": score, "weighted_f1": score}
        history.append(EpochRecord(epoch, 1 - score, val, _FOLD_SECONDS / _EPOCHS))
        if not on_epoch(history[-1]):
            break
    return FoldResult(
        task.trial,
        task.fold,
        len(history),
        len(history),
        history[-1].val,
        tuple(history),
        task.folder,
        stopped=len(history) < _EPOCHS,
    )


def measure(console: Console, folder: Folder, cores: int) -> dict[str, float]:
    """Run it on a connected Ray.

    Args:
        console: for progress.
        folder: scratch space.
        cores: workers.

    Returns:
        Seconds a trial beyond its folds' share of the workers, and the share of the workers' time spent in folds, from
        the first fold's start to the last one's end.
    """
    space = {"loss.mu1": Distribution(0.0, 0.5), "loss.mu2": Distribution(0.0, 0.5)}
    search = SearchConfig(space=space, num_trials=_TRIALS, concurrency=_IN_FLIGHT, scheduler="none")
    config = replaced(Config(search=search), {"training.max_epochs": _EPOCHS})
    one = Utterance("u", "calm")
    corpus = Corpus("benchmark", folder.local_path, ("calm",), (one,), ("",))  # type: ignore[arg-type]
    log = CommandLog(
        config, corpus, kind="study", runs=folder, name="study", identity="", run_id=""
    )
    console.print(
        f"study: {_TRIALS} trials of {_FOLDS} folds of {_FOLD_SECONDS:g} s on {cores} workers"
    )
    journal, objectives = Journal(folder), config.objectives
    source = SearchSource(
        Trial("", config),
        StudySearcher(make_space(config), objectives, seed=0, numbers=range(_TRIALS)),
        Scheduler(),
        journal,
        round_number=1,
        in_flight=lambda: _IN_FLIGHT,
        most_epochs=lambda config: _EPOCHS * _FOLDS,
    )
    with FoldPool(
        sleep_fold, ClusterConfig(workers=cores), folder=folder / ".pool", most_tasks=cores
    ) as pool:
        runner = TrialRunner(pool, journal.folder, n_folds=_FOLDS, listeners=[log])
        for outcome in runner.run(source):
            log.close(outcome)
    log.finish("FINISHED")
    folds = _TRIALS * _FOLDS * _FOLD_SECONDS / cores
    return {
        "study_overhead_seconds_per_trial": (runner.clock.span_seconds - folds) / _TRIALS,
        "study_worker_utilisation": folds / runner.clock.span_seconds,
    }
