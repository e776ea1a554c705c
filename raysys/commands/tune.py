"""A study: rounds of trials over one pool, then the honest result.

Config -> Space, Plan -> the untuned configuration and the trials of every round -> outcomes
complete trials -> aggregates, such as averaged matrices -> the next round's S
validation scores -> chosen -> its test opened -> result.json, best.yaml, MLflow, terminal
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from rich.console import Console

from raysys.cluster.session import ray_kept
from raysys.config import Config
from raysys.errors import ConfigError, lookup
from raysys.models import model_names
from raysys.report.cost import cost_of
from raysys.report.results import RunIds, StudyResult, TrialRecord, write_result
from raysys.report.scores import Choice, Effort, RoundResult
from raysys.report.statistics import mean_and_std, paired_difference, test_share
from raysys.report.study_pictures import study_figures
from raysys.report.utterances import PARQUET, predictions_files, predictions_table
from raysys.running.choice import choose, confirm, open_choice
from raysys.running.command import Command, carry_out, is_finished, look_ahead
from raysys.running.nested import nested_cost
from raysys.running.opening import model_of, score_groups, write_files
from raysys.running.plan import Plan, make_plan
from raysys.running.preset import best_preset
from raysys.running.reporting import write_report
from raysys.running.rounds import RoundEnd, Searched, search_rounds, untuned_config, with_omega
from raysys.running.starts import planned_alike
from raysys.sealed import digests_of
from raysys.search.journal import Journal
from raysys.search.searcher import importances
from raysys.search.space import Space, make_space
from raysys.settings import digest, replaced, to_dict
from raysys.storage import Folder
from raysys.tasks.task import Metric, shown


@ray_kept()
def tune(config: Config, *, resume: bool | None, console: Console) -> StudyResult:
    """Search a space and report the choice.

    Args:
        config: everything; `search` says what to search.
        resume: go on with the latest study of the same identity; None: where there is one.
        console: for progress and report.

    Raises:
        RaysysError: bad input (before Ray starts), lost workers, or an untuned configuration that fails.
    """
    begun = time.monotonic()
    space = make_space(config)
    _check(config)
    plan = _make_plan(config)

    return carry_out(
        plan,
        kind="study",
        resume=resume,
        console=console,
        begun=begun,
        work=partial(_work, space),
        finished=partial(_is_finished, config=config),
    )


def _work(space: Space, command: Command) -> StudyResult:
    plan = command.plan
    if plan.inner:
        line = nested_cost(plan.config, plan.inner).line()
        command.console.print(line, soft_wrap=True, markup=False)
    return _report(command, space, search_rounds(command, space))


def _report(command: Command, space: Space, searched: Searched) -> StudyResult:
    """Choose, open the choice's test scores, write them down."""
    plan, folder, log = command.plan, command.folder, command.log
    config, task, ends = plan.config, plan.task, searched.ends
    objectives, records = config.objectives, searched.journal.read()
    honest = open_choice(plan, searched.candidates, objectives)
    chosen = honest.chosen
    rounds = {id(c): end.round for end in ends for c in end.candidates}
    number = rounds.get(id(chosen), 1)
    seeds = len(chosen.trial.seeds)
    summary = task.summary(
        honest.predictions,
        plan.test_speakers * seeds,
        searched.aggregate,
        searched.baseline,
        targets=plan.data.targets,
        rows=plan.test_rows(seeds),
    )
    names = [metric.name for metric in shown(task.metrics)]
    val = {name: chosen.mean(name) for name in chosen.folds[0].val}
    opened = dict(zip((one.key for one in chosen.folds), honest.predictions, strict=True))
    table = predictions_files(predictions_table(task, plan.corpus, plan.folds, opened))
    write_files(folder, table)
    result = StudyResult(
        task=task.name,
        corpus=plan.corpus.name,
        model=config.model.title,
        objectives=tuple(objective.name for objective in objectives),
        chosen=Choice(chosen.name, number, dict(chosen.trial.values), val),
        test=honest.test,
        by_fold=honest.opened_by_fold,
        untuned=honest.untuned,
        by_fold_choice=tuple(one.name for one in honest.by_fold),
        difference=honest.difference,
        confirmed=confirm(plan, *searched.confirmed) if searched.confirmed else None,
        pareto=honest.pareto,
        summary=summary,
        untuned_values=space.base_values(),
        untuned_val={name: searched.candidates[0].mean(name) for name in val},
        baseline=mean_and_std(searched.baseline, names),
        files=digests_of(folder, [PARQUET]),
        groups=score_groups(plan, honest.predictions),
        cost=cost_of(chosen.folds, plan.encoders, chosen.trial.config.model.modalities),
        nested=searched.nested,
        over_baseline={
            name: paired_difference(
                [one[name] for one in honest.test.folds],
                [one[name] for one in searched.baseline],
                shared=test_share(plan.folds),
            )
            for name in names
        },
        rounds=tuple(_round_row(end, objectives[0]) for end in ends),
        trials=tuple(records),
        epochs=_effort(records),
        seconds={"total": time.monotonic() - command.begun, **searched.seconds},
        audit=(*plan.audit, *(end.finding for end in ends if end.finding)),
        mlflow=RunIds(log.experiment_id, log.run_id),
    )
    base = next(end.base for end in ends if end.round == number)
    preset = best_preset(replaced(base, dict(chosen.trial.values)), result, study=folder.path())
    folder.write_bytes("best.yaml", preset.encode())
    write_result(folder, result)
    write_report(folder)
    figures = study_figures(
        space.settings,
        records,
        objectives,
        untuned=result.untuned_val[objectives[0].name],
        importances=importances(space, records, objectives[0]),
    )
    exhibits = [*task.show_summary(summary, honest.predictions, plan.corpus.name), *table]
    model = model_of(log, result, chosen.trial.config, task, folder)
    log.study_result(result, exhibits, figures, preset, model)
    _drop_unfinished(records, searched.journal)
    return result


def _drop_unfinished(records: Sequence[TrialRecord], journal: Journal) -> None:
    """Folds of trials that were stopped or failed: nobody goes on with them."""
    for record in records:
        if record.state in ("PRUNED", "FAILED"):
            folder = journal.folder / record.name
            for name in folder.names():
                if name.startswith(("fold_", "seed_")):
                    (folder / name).delete()


def _make_plan(config: Config) -> Plan:
    """The plan of the untuned configuration, whose identity is that of the study."""
    search = config.search
    models = {config.model.name, *map(str, _choices(config, "model.name"))}
    untuned = with_omega(untuned_config(config), search)
    wanted = [*config.model.modalities, *itertools.chain(*_choices(config, "model.modalities"))]
    widest = replaced(untuned, {"model.modalities": tuple(dict.fromkeys(wanted))})
    inner = {"search.nested": search.nested, "search.inner_folds": search.inner_folds}
    widest = replaced(widest, inner)
    plan = make_plan(widest, models=models, ahead=look_ahead)
    same = {"seconds": 0.0, "concurrency": 0}
    if search.rounds == 1:  # a study may be resumed with more trials
        same["num_trials"] = 1
    identity = digest(plan.identity, to_dict(config.loss), to_dict(replace(search, **same)))  # type: ignore[arg-type]
    return replace(plan, config=planned_alike(config, plan.config), identity=identity)


def _check(config: Config) -> None:
    """Refuse what would do nothing, or cannot be done.

    Raises:
        ConfigError: see the messages.
    """
    search = config.search
    epochs = config.epochs
    if search.scheduler != "none" and search.grace_epochs >= epochs:
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
        lookup(model_names(), str(name), kind="model")
    if search.nested and search.rounds > 1:
        raise ConfigError(
            "search.nested estimates a search of one round: set --search.rounds 1, or --search.nested false"
        )
    if search.nested and search.seconds:
        raise ConfigError(
            "search.nested needs every trial to end: set --search.seconds 0, and --search.num_trials to what time "
            "allows"
        )
    if search.nested and config.training.start_from:
        raise ConfigError(
            "training.start_from names weights that have seen a fold's inner val parts: leave it out with search.nested"
        )
    if search.rounds > 1 and config.folds.method == "official":
        raise ConfigError(
            "search.rounds needs several folds, since a fold takes the other folds' matrices, and the official split "
            "is one: set --search.rounds 1 or --folds.method"
        )


def _choices(config: Config, name: str) -> tuple[Any, ...]:
    """What a searched setting may be; nothing where it is not searched."""
    item = config.search.space.get(name)
    return () if item is None else item.choices


def _is_finished(folder: Folder, config: Config) -> bool:
    """Whether the study has ended well, with as many trials as are wanted now."""
    wanted = config.search.num_trials * config.search.rounds
    ended = sum(record.has_ended for record in Journal(folder).read())
    return is_finished(folder) and ended >= wanted


def _effort(records: Sequence[TrialRecord]) -> Effort:
    counted = [record for record in records if record.state in ("COMPLETE", "PRUNED")]
    done = sum(record.epochs for record in counted)
    most = sum(record.most_epochs for record in counted)
    return Effort(done, most, 1 - done / most if most else 0.0)


def _round_row(end: RoundEnd, objective: Metric) -> RoundResult:
    best = choose(end.candidates, objective) if end.candidates else None
    if best is None:
        return RoundResult(end.round, None, None, end.moved)
    return RoundResult(end.round, best.name, best.mean(objective.name), end.moved)
