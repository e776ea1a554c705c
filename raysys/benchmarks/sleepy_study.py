"""A study whose folds sleep and learn nothing: everything but the training is real.

Queue, workers, aggregation actor, searcher, journal and MLflow log do what they do in any study. A fold stores made-up
test embeddings, and those of a trial come to an averaged matrix.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ray._private.state import actors
from rich.console import Console

from raysys.background import Background
from raysys.benchmarks.sleep import EMOTIONS, Sleep, sleep_fold
from raysys.cluster.aggregator import RunningAggregator, running_aggregator
from raysys.cluster.pool import FoldPool
from raysys.config import Config
from raysys.config.running import ClusterConfig, Distribution, SearchConfig
from raysys.corpus.table import Corpus, Utterance
from raysys.running.runner import TrialRunner
from raysys.running.sources import SearchSource, concurrency
from raysys.search.journal import Journal
from raysys.search.scheduler import Scheduler
from raysys.search.searcher import StudySearcher
from raysys.search.space import make_space
from raysys.settings import replaced
from raysys.similarity.prior import Origin
from raysys.storage import Folder
from raysys.tasks.classification import Classification
from raysys.tasks.exhibits import Tree
from raysys.tracking.command_log import CommandLog
from raysys.training.records import FoldTask
from raysys.trials.trial import Trial, TrialOutcome

_FOLDS = 5
_WAITING_SECONDS = 10.0


@dataclass(frozen=True)
class Measured:
    """What a study cost besides its sleep."""

    trials: int
    span_seconds: float
    """From the first fold's start to the last one's end."""
    slept_seconds: float
    """Seconds that all folds together slept."""
    workers: float
    """Mean number that was there."""
    cpu_seconds: dict[str, float]
    """CPU seconds of the queue, the aggregation actor and the driver in that time."""
    memory_mb: dict[str, float]
    """Resident memory of the same at its end."""
    cores_waiting: float
    """How many of the machine's cores were busy while all workers waited for a first fold: what Ray and so many
    processes take by themselves."""
    cores_busy: float
    """The same, in that time."""

    @property
    def utilisation(self) -> float:
        """Share of the workers' time in which they slept as they should."""
        return self.slept_seconds / (self.workers * self.span_seconds)

    @property
    def overhead_seconds(self) -> float:
        """A trial, beyond its folds' share of the workers."""
        return (self.span_seconds - self.slept_seconds / self.workers) / self.trials


class _SleepyPool(FoldPool):
    """Sends of each configuration what a sleeping fold reads: without torch, many workers fit onto a machine."""

    def submit(self, tasks: Sequence[FoldTask]) -> None:  # type: ignore[override]
        """Hand tasks to the pool."""
        super().submit([replace(task, config=task.config.loss.mu1) for task in tasks])


def measure(
    console: Console, folder: Folder, cluster: ClusterConfig, *, trials: int, sleep: Sleep
) -> Measured:
    """Run a study on a connected Ray.

    Args:
        console: for progress.
        folder: scratch space, on a local disk.
        cluster: number and size of the workers.
        trials: to do.
        sleep: of each fold.
    """
    space = {"loss.mu1": Distribution(0.0, 0.5), "loss.mu2": Distribution(0.0, 0.5)}
    search = SearchConfig(space=space, num_trials=trials, scheduler="none")
    config = replaced(Config(search=search), {"training.max_epochs": sleep.epochs})
    rows = tuple(Utterance(emotion, emotion) for emotion in EMOTIONS)
    corpus = Corpus("benchmark", Path(folder.path()), EMOTIONS, rows, ("",) * len(rows))
    task = Classification.of(corpus)
    log = CommandLog(
        config, corpus, kind="study", runs=folder, name="study", identity="", run_id=""
    )
    console.print(
        f"study: {trials} trials of {_FOLDS} folds of {sleep.epochs} x {sleep.epoch_seconds:g} s on {cluster.workers} "
        "workers"
    )
    aggregation = task.aggregation(config.similarity, config.seed)
    with (
        running_aggregator(aggregation) as aggregator,
        _SleepyPool(
            sleep_fold,
            cluster,
            most_tasks=_FOLDS * trials,
            shared=sleep,
        ) as pool,
    ):
        journal = Journal(folder)
        source = _source(config, journal, lambda: concurrency(config, pool.workers, _FOLDS))
        runner = TrialRunner(pool, journal.folder, n_folds=_FOLDS, listeners=[log])
        _wait_for_workers(pool, cluster.workers)
        processes = {
            "queue": _process(pool.queue),
            "aggregation": _process(aggregator.actor),
            "driver": os.getpid(),
        }
        waiting = _Meter(processes)
        time.sleep(_WAITING_SECONDS)
        cores_waiting, meter = waiting.cores_busy, _Meter(processes)
        _close_trials(runner.run(source), partial(_finish, task, aggregator, log))
        found = Measured(
            trials,
            runner.clock.span_seconds,
            trials * _FOLDS * sleep.epochs * sleep.epoch_seconds,
            runner.clock.workers,
            meter.cpu_seconds,
            {name: _memory_mb(process) for name, process in processes.items()},
            cores_waiting,
            meter.cores_busy,
        )
    log.finish("FINISHED")
    return found


def _source(config: Config, journal: Journal, in_flight: Callable[[], int]) -> SearchSource:
    numbers = range(config.search.num_trials)
    return SearchSource(
        Trial("", config),
        StudySearcher(make_space(config), config.objectives, seed=0, numbers=numbers),
        Scheduler(),
        journal,
        round_number=1,
        in_flight=in_flight,
        most_epochs=lambda config: config.training.max_epochs * _FOLDS,
    )


def _close_trials(outcomes: Any, finish: Callable[[TrialOutcome], None]) -> None:
    """What a study does with a trial that is over, next to the others."""
    aside, finishing = Background("matrices"), list[Future[None]]()
    for outcome in outcomes:
        finishing.append(aside.do(partial(finish, outcome)))
    for future in finishing:
        future.result()


def _finish(
    task: Classification, aggregator: RunningAggregator, log: CommandLog, outcome: TrialOutcome
) -> None:
    found = aggregator.summary({fold.key: fold.folder for fold in outcome.folds})
    shown = task.show_aggregate(found, Origin("benchmark", ()))
    log.of(outcome.name).exhibits(one for one in shown if not isinstance(one, Tree))
    log.close(outcome)


def _wait_for_workers(pool: FoldPool, count: int) -> None:
    """All of them: what is measured is the study, not their start."""
    while len(pool.present) < count:
        pool.poll(1.0)


class _Meter:
    """What processes, and all of the machine, have taken since it was made."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = processes
        self._begun, self._busy = time.monotonic(), _busy_seconds()
        self._before = {name: _cpu_seconds(process) for name, process in processes.items()}

    @property
    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds of each process."""
        return {
            name: _cpu_seconds(process) - self._before[name]
            for name, process in self._processes.items()
        }

    @property
    def cores_busy(self) -> float:
        """Mean over the time."""
        return (_busy_seconds() - self._busy) / (time.monotonic() - self._begun)


def _process(actor: Any) -> int:
    return int(actors(actor._actor_id.hex())["Pid"])


def _cpu_seconds(process: int) -> float:
    times = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")


def _busy_seconds() -> float:
    """Busy seconds of all cores together since the machine started."""
    user, nice, system, _, _, *rest = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(map(int, (user, nice, system, *rest[:2]))) / os.sysconf("SC_CLK_TCK")


def _memory_mb(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
