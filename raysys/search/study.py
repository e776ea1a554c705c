"""A study: rounds of trials over one fold pool, then the honest result.

Config -> Space, Plan -> FoldPool <- the untuned configuration, then the trials of every round
complete trials -> SimilarityAggregator -> averaged matrices -> the next round's S
validation scores -> chosen -> its test opened -> result.json, best.yaml, MLflow, terminal
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from rich.console import Console

from raysys.cluster.aggregator import DeliverEmbeddings, running_aggregator
from raysys.cluster.background import in_background
from raysys.cluster.command import carry_out, is_finished
from raysys.cluster.plan import Plan, make_plan
from raysys.cluster.pool import FoldPool
from raysys.cluster.session import ray_session
from raysys.config import Config, Objective, digest, replaced, to_dict
from raysys.corpus.audit import Finding
from raysys.errors import ConfigError, lookup
from raysys.models import MODELS
from raysys.report import mean_and_std
from raysys.search.figures import study_figures
from raysys.search.journal import UNTUNED, Journal, TrialRecord
from raysys.search.preset import best_preset
from raysys.search.report import print_study
from raysys.search.result import Candidate, choose, honest_result
from raysys.search.rounds import RoundEnd, StudyRounds, untuned_config, with_omega
from raysys.search.space import SYMBOLS, Space, make_space
from raysys.search.view import StudyView
from raysys.search.watch import PoolWatch
from raysys.storage import Folder, resolve_folder
from raysys.tracking.study import StudyLog
from raysys.training.baseline import baseline_scores
from raysys.training.fold import run_fold, warm_up

_NO_LIMIT = 1_000_000


def tune(config: Config, *, resume: bool, console: Console) -> dict[str, Any]:
    """Search a space and report the choice.

    Args:
        config: everything; `search` says what to search.
        resume: go on with the latest study of the same identity.
        console: for progress and report.

    Returns:
        The content of result.json.

    Raises:
        RaysysError: bad input (before Ray starts), lost workers, or an untuned configuration that fails.
    """
    begun = time.monotonic()
    space = make_space(config)
    _check(config, space)
    plan = _make_plan(config)

    def work(folder: Folder, log: StudyLog) -> dict[str, Any]:
        study = _Study(config, space, plan, folder, Journal(folder), log)
        return _report(study, _search(study, console), begun)

    return carry_out(
        plan,
        resume=resume,
        console=console,
        open_log=partial(StudyLog, symbols=SYMBOLS),
        work=work,
        show=print_study,
        finished=partial(_is_finished, config=config),
    )


@dataclass(frozen=True)
class _Study:
    """What every step of a study needs."""

    config: Config
    space: Space
    plan: Plan
    folder: Folder
    journal: Journal
    log: StudyLog


@dataclass(frozen=True)
class _Searched:
    """What the part that needs Ray leaves to the report."""

    untuned: Candidate
    ends: list[RoundEnd]
    baseline: list[dict[str, float]]
    """Test scores of the SVM, one dict a fold."""
    seconds: dict[str, float]
    """Start-up, and how busy how many workers were."""


def _search(study: _Study, console: Console) -> _Searched:
    """All rounds over one pool."""
    config, search, plan = study.config, study.config.search, study.plan
    n_folds = len(plan.folds)
    connecting = time.monotonic()
    n_classes = len(plan.corpus.emotions)
    with (
        _aside() as aside,
        ray_session(config.cluster),
        running_aggregator(config.similarity, n_classes, config.seed) as aggregator,
    ):
        baseline = in_background(partial(baseline_scores, plan.arrays, plan.folds))
        with FoldPool(
            run_fold,
            config.cluster,
            folder=study.folder / ".pool",
            most_tasks=n_folds * (search.concurrency + 1 if search.concurrency else _NO_LIMIT),
            shared=plan.arrays,
            deliver=DeliverEmbeddings(aggregator),
            warm_up=warm_up,
        ) as pool:
            watch = PoolWatch(pool, required=UNTUNED, n_folds=n_folds)
            rounds = StudyRounds(
                config,
                study.space,
                plan,
                pool=pool,
                watch=watch,
                aggregator=aggregator,
                journal=study.journal,
                log=study.log,
                aside=aside,
            )
            with StudyView(
                console,
                objective=search.objectives[0],
                total=search.num_trials * search.rounds,
                n_folds=n_folds,
                workers=pool.workers,
            ) as view:
                ends = rounds.run(view)
        seconds = {
            "startup": (watch.began or connecting) - connecting,
            "utilisation": watch.utilisation,
            "workers": pool.workers,
        }
        return _Searched(rounds.untuned, ends, baseline.result(), seconds)


def _report(study: _Study, searched: _Searched, begun: float) -> dict[str, Any]:
    """Choose, open the choice's test scores, write them down; the content of result.json."""
    plan, folder, ends = study.plan, study.folder, searched.ends
    objectives = study.config.search.objectives
    records = study.journal.read()
    content: dict[str, Any] = {
        "kind": "study",
        "corpus": plan.corpus.name,
        "model": study.config.model.title,
        "emotions": list(plan.corpus.emotions),
        "objectives": list(objectives),
        **honest_result(
            [searched.untuned, *(c for end in ends for c in end.candidates)],
            objectives,
            plan.folds,
            emotions=plan.corpus.emotions,
            speakers=plan.test_speakers,
        ),
        "untuned_values": study.space.base_values(),
        "baseline": mean_and_std(searched.baseline),
        "rounds": [_round_row(end, objectives[0]) for end in ends],
        "trials": [asdict(record) for record in records],
        "epochs": _epochs(records),
        "seconds": {"total": time.monotonic() - begun, **searched.seconds},
        "audit": [asdict(finding) for finding in (*plan.audit, *_findings(ends))],
        "mlflow": {"experiment_id": study.log.experiment_id, "run_id": study.log.run_id},
    }
    chosen = content["chosen"]
    base = next(end.config for end in ends if end.round == chosen["round"])
    preset = best_preset(replaced(base, chosen["values"]), content, study=folder.path())
    untuned = searched.untuned.mean(objectives[0])
    figures = study_figures(study.space, records, objectives, untuned=untuned)
    folder.write_bytes("best.yaml", preset.encode())
    folder.write_json("result.json", content)
    result: dict[str, Any] = folder.read_json("result.json")
    study.log.result(result, figures, preset)
    _drop_unfinished(records, study.journal, len(plan.folds))
    return result


@contextmanager
def _aside() -> Iterator[ThreadPoolExecutor]:
    """A thread for what need not hold up the next trial; what it has not begun is dropped after an error."""
    aside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="study")
    try:
        yield aside
    except BaseException:
        aside.shutdown(wait=False, cancel_futures=True)
        raise
    aside.shutdown()


def _drop_unfinished(records: list[TrialRecord], journal: Journal, n_folds: int) -> None:
    """Checkpoints of trials that were stopped or failed: nobody goes on with them."""
    for record in records:
        for fold in range(n_folds if record.state in ("PRUNED", "FAILED") else 0):
            (journal.folder / record.name / f"fold_{fold}").delete()


def _make_plan(config: Config) -> Plan:
    """The plan of the untuned configuration, whose identity is that of the study."""
    search = config.search
    models = {config.model.name, *map(str, _choices(config, "model.name"))}
    plan = make_plan(with_omega(untuned_config(config), search), models=models)
    same = {"seconds": 0.0, "concurrency": 0}
    if search.rounds == 1:  # a study may be resumed with more trials
        same["num_trials"] = 1
    identity = digest(plan.identity, to_dict(config.loss), to_dict(replace(search, **same)))  # type: ignore[arg-type]
    return replace(plan, config=config, identity=identity)


def _check(config: Config, space: Space) -> None:
    """Refuse what would do nothing, or cannot be done.

    Raises:
        ConfigError: see the messages.
    """
    search = config.search
    epochs = config.training.max_epochs
    if search.scheduler == "asha" and search.grace_epochs >= epochs:
        raise ConfigError(
            f"search.grace_epochs is {search.grace_epochs}, but training ends after {epochs} epochs: lower it, or set "
            "--search.scheduler none"
        )
    if search.rounds > 1 and not (config.loss.omega or "loss.omega" in search.space):
        raise ConfigError(
            "search.rounds feeds the similarity matrix back into the emotion-aware loss, which is off: set "
            "--loss.omega or search it"
        )
    for name in _choices(config, "model.name"):
        lookup(MODELS, str(name), kind="model")
    if search.rounds > 1 and config.folds.method == "official":
        raise ConfigError(
            "search.rounds needs several folds, since a fold takes the other folds' matrices, and the official split "
            "is one: set --search.rounds 1 or --folds.method"
        )
    if search.rounds > 1 and resolve_folder(config.storage.runs).local_path is None:
        raise ConfigError("search.rounds needs storage.runs on a disk that all nodes see")


def _choices(config: Config, name: str) -> tuple[Any, ...]:
    """What a searched setting may be; nothing where it is not searched."""
    item = config.search.space.get(name)
    return () if item is None else item.choices


def _is_finished(folder: Folder, config: Config) -> bool:
    """Whether the study has ended well, with as many trials as are wanted now."""
    wanted = config.search.num_trials * config.search.rounds
    ended = sum(record.has_ended for record in Journal(folder).read())
    return is_finished(folder) and ended >= wanted


def _epochs(records: list[TrialRecord]) -> dict[str, float]:
    """Epochs of folds that trials did, could have done at most, and the share that the scheduler saved."""
    counted = [record for record in records if record.state in ("COMPLETE", "PRUNED")]
    done = sum(record.epochs for record in counted)
    most = sum(record.most_epochs for record in counted)
    return {"done": done, "most": most, "saved": 1 - done / most if most else 0.0}


def _findings(ends: list[RoundEnd]) -> list[Finding]:
    """What the audit says of the matrices that rounds fed back."""
    return [end.finding for end in ends if end.finding]


def _round_row(end: RoundEnd, objective: Objective) -> dict[str, Any]:
    best = choose(end.candidates, objective) if end.candidates else None
    return {
        "round": end.round,
        "name": best and best.name,
        "best": best and best.mean(objective),
        "moved": end.moved,
    }
