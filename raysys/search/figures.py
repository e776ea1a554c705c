"""Pictures of a study, by Optuna: history, importances, contour, parallel coordinates, Pareto front.

Optuna's own parameters hold mu2 as a share of what mu1 leaves. The pictures are drawn from a study of the values
themselves, under their papers' symbols.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
import optuna
import optuna.visualization.matplotlib as plots
from matplotlib.figure import Figure
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from raysys.config import Objective
from raysys.search.journal import TrialRecord
from raysys.search.searcher import direction
from raysys.search.space import Space, symbol
from raysys.search.view import show_value


def study_figures(
    space: Space, records: Sequence[TrialRecord], objectives: Sequence[Objective]
) -> dict[str, Figure]:
    """The pictures that the trials suffice for, by name.

    Args:
        space: of the study.
        records: its trials; those that are complete or pruned are shown.
        objectives: the first is what "best" means; with two or three, a Pareto front is drawn.
    """
    first = _study(space, records, objectives[:1])
    done = [trial for trial in first.trials if trial.state == TrialState.COMPLETE]
    if not done:
        return {}
    name = f"validation {objectives[0]}, mean over folds"
    figures = {"history": _draw(plots.plot_optimization_history, first, target_name=name)}
    names = list(first.best_trial.params)
    if len(done) > 1:
        figures["parallel_coordinate"] = _draw(
            plots.plot_parallel_coordinate, first, target_name=name
        )
    varied = [n for n in names if len({repr(trial.params[n]) for trial in done}) > 1]
    if len(done) > 2 and varied:
        figures["importances"] = _draw(plots.plot_param_importances, first, target_name=name)
        pair = ["mu1", "mu2"] if {"mu1", "mu2"} <= set(names) else varied[:2]
        if len(pair) == 2 and set(pair) <= set(varied):
            figures["contour"] = _draw(plots.plot_contour, first, params=pair, target_name=name)
    if len(objectives) in (2, 3):
        several = _study(space, records, objectives)
        figures["pareto_front"] = _draw(
            plots.plot_pareto_front, several, target_names=list(objectives)
        )
    return figures


def _study(
    space: Space, records: Sequence[TrialRecord], objectives: Sequence[Objective]
) -> optuna.Study:
    distributions = {symbol(name): _shown(space, name) for name in space.settings}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=[direction(objective) for objective in objectives])
    for record in records:
        if record.state not in ("COMPLETE", "PRUNED"):
            continue
        complete = record.state == "COMPLETE"
        curve = {point.epoch: point.objectives[objectives[0]] for point in record.curve}
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if complete else TrialState.PRUNED,
                params={symbol(n): _plain(v) for n, v in record.values.items()},
                distributions=distributions,
                values=[record.scores[o] for o in objectives] if complete else None,
                intermediate_values=curve if len(objectives) == 1 else {},
            )
        )
    return study


def _shown(space: Space, name: str) -> BaseDistribution:
    item = space.settings[name]
    if item.choices:
        return CategoricalDistribution([_plain(choice) for choice in item.choices])
    assert item.low is not None
    assert item.high is not None
    return FloatDistribution(item.low, item.high, log=item.log)


def _plain(value: Any) -> Any:
    return show_value(value) if isinstance(value, tuple) else value


def _draw(plot: Callable[..., Any], study: optuna.Study, **options: Any) -> Figure:
    with _quiet():
        axes = plot(study, **options)
        figure: Figure = (axes if hasattr(axes, "figure") else axes.flat[0]).figure
        figure.tight_layout()
        plt.close(figure)
    return figure


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a screen, and without warnings about the plots' being experimental."""
    backend = plt.get_backend()
    plt.switch_backend("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    plt.switch_backend(backend)
