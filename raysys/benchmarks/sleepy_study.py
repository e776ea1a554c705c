"""A study whose folds sleep for a second each: everything but the training is real."""

import time
from typing import Any

from rich.console import Console

from raysys.cluster.pool import FoldPool
from raysys.config import ClusterConfig, Config, Distribution, SearchConfig, replaced
from raysys.corpus.table import Corpus, Utterance
from raysys.search.callbacks import StudyCallback
from raysys.search.journal import UNTUNED, Journal
from raysys.search.searcher import StudySearcher
from raysys.search.space import SYMBOLS, make_space
from raysys.search.trial import Round
from raysys.search.tuner import run_trials
from raysys.search.view import StudyView
from raysys.search.watch import PoolWatch
from raysys.storage import Folder
from raysys.tracking.study import StudyLog
from raysys.training.task import EpochRecord, FoldResult, FoldTask

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
        _FOLD_SECONDS,
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
    log = StudyLog(
        config, corpus, runs=folder, name="study", identity="", run_id="", symbols=SYMBOLS
    )
    console.print(
        f"study: {_TRIALS} trials of {_FOLDS} folds of {_FOLD_SECONDS:g} s on {cores} workers"
    )
    with FoldPool(
        sleep_fold, ClusterConfig(workers=cores), folder=folder / ".pool", most_tasks=cores
    ) as pool:
        watch = PoolWatch(pool, required=UNTUNED, n_folds=_FOLDS)
        view = StudyView(
            Console(quiet=True), objective="ua", total=_TRIALS, n_folds=_FOLDS, workers=cores
        )
        run_trials(
            pool,
            StudySearcher(make_space(config), ["ua"], seed=0, numbers=range(_TRIALS)),
            StudyCallback(
                pool,
                watch,
                Journal(folder),
                view,
                log,
                round_number=1,
                deadline=None,
                most_epochs=lambda values: _EPOCHS * _FOLDS,
                on_end=lambda record: log.trial_ended(record.name, record.state, record.scores),
            ),
            Round(config, (folder / "trials").uri, _FOLDS, ("ua",), (), None),
            search,
            max_epochs=_EPOCHS,
            records=[],
            deadline=None,
        )
        watch.poll()
    log.finish("FINISHED")
    folds = _TRIALS * _FOLDS * _FOLD_SECONDS / cores
    return {
        "study_overhead_seconds_per_trial": (watch.span_seconds - folds) / _TRIALS,
        "study_worker_utilisation": folds / watch.span_seconds,
    }
