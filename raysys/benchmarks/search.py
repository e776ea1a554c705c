"""What schedulers save: the best validation score of a search against the fold-epochs that it spent.

Learning curves of many configurations on all folds are replayed in random orders under each scheduler, so that all see
the same trials and nothing is trained twice. `planted` curves are drawn from a model (quality of the configuration +
difficulty of the fold + what is particular to both + noise of an epoch); `demo` curves are those of
random configurations that are trained here.

    share    fold-epochs until the mean of the best score is what a search without scheduler has after 40 trials (on
             demo after half of all), over the fold-epochs of that search
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from rich.console import Console

from raysys.commandline import parse
from raysys.commands.ablate import ablate
from raysys.config.running import AblationConfig, SearchConfig, Variant
from raysys.search.scheduler import make_scheduler
from raysys.storage import Folder
from raysys.tasks.classification_summary import METRICS
from raysys.training.fold import read_result
from raysys.training.records import EpochRecord

Curves = Float64[np.ndarray, "configuration fold epoch"]

_UA = next(metric for metric in METRICS if metric.name == "ua")
_SCHEDULERS = ("none", "asha", "race")
_ORDERS = 40
_PLANTED = {
    "few epochs": (27, 9, 0.015),
    "many epochs": (81, 30, 0.015),
    "noisy folds": (27, 9, 0.04),
}
"""Epochs, time constant of the learning, deviation of what is particular to a configuration and a fold."""
_TRIALS = 32
_EPOCHS = 12


def measure(console: Console, folder: Folder) -> dict[str, Any]:
    """Replay planted and real curves.

    Returns:
        `SPACE_SCHEDULER_share`: see the module; and the scores compared.
    """
    figures: dict[str, Any] = {}
    spaces = {name: (_planted(*how), 40) for name, how in _PLANTED.items()}
    spaces["demo"] = (_trained(console, folder), _TRIALS // 2)
    for space, (curves, trials) in spaces.items():
        found = compare(curves, trials)
        for name, value in found.items():
            figures[f"{space.replace(' ', '_')}_{name}"] = round(value, 4)
        told = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
        console.print(f"{space}: {told}", highlight=False)
    return figures


def compare(curves: Curves, trials: int) -> dict[str, float]:
    """Shares of every scheduler, and the score that they are for.

    Args:
        curves: objective after every epoch.
        trials: of the search without a scheduler.
    """
    whole = trials * curves[0].size
    reached = {name: [] for name in _SCHEDULERS}  # type: dict[str, list[Float64[np.ndarray, " _"]]]
    for order in range(_ORDERS):
        random = np.random.default_rng(order)
        chosen = random.permutation(len(curves))
        for name in _SCHEDULERS:
            limit = trials if name == "none" else len(curves)
            reached[name].append(_replay(curves[chosen[:limit]], name, whole))
    means = {name: np.mean(one, axis=0) for name, one in reached.items()}
    goal = float(means["none"][-1])
    shares = {
        f"{name}_share": float(np.argmax(mean >= goal) + 1) / whole if (mean >= goal).any() else 9.9
        for name, mean in means.items()
        if name != "none"
    }
    return {**shares, "score": goal}


def _replay(curves: Curves, scheduler: str, budget: int) -> Float64[np.ndarray, " spent"]:
    """Best mean of a complete trial after every fold-epoch of a budget."""
    n_folds, epochs = curves.shape[1:]
    config = SearchConfig(scheduler=scheduler, grace_epochs=max(1, epochs // 9))  # type: ignore[arg-type]
    judge = make_scheduler(config, _UA, max_epochs=epochs, chooser=_UA)
    best, spent, reached = 0.0, 0, np.zeros(budget)
    best_so_far = np.maximum.accumulate(curves, axis=2)
    for number, one in enumerate(curves):
        records = [
            [
                EpochRecord(e, 0.0, {"ua": float(ua), "loss": 0.0}, 0.0)
                for e, ua in enumerate(fold, 1)
            ]
            for fold in one
        ]
        judge.add(str(number))
        before = spent
        stopped = False
        if not judge.in_turn:
            means = best_so_far[number].mean(axis=0)
            for epoch in range(1, epochs + 1):
                spent += n_folds
                stops = judge.stops_at(str(number), epoch, {"ua": float(means[epoch - 1])})
                stopped = stops and epoch < epochs
                if stopped:
                    break
        else:
            histories: dict[tuple[int, int], list[EpochRecord]] = {
                (0, k): [] for k in range(n_folds)
            }
            for fold in range(n_folds):
                for epoch in range(1, epochs + 1):
                    spent += 1
                    histories[0, fold] = records[fold][:epoch]
                    ended = {(0, k) for k in range(fold + (epoch == epochs))}
                    stopped = judge.stops_after(histories, ended) and spent - before < one.size
                    if stopped:
                        break
                if stopped:
                    break
        if spent >= budget:
            reached[before:] = best
            return reached
        reached[before:spent] = best
        if not stopped:
            best = max(best, float(best_so_far[number, :, -1].mean()))
            judge.complete({(0, k): records[k] for k in range(n_folds)})
    reached[spent:] = best
    return reached


def _planted(epochs: int, pace: float, particular: float, count: int = 300) -> Curves:
    random = np.random.default_rng(0)
    quality = 0.45 + 0.2 * random.beta(2, 2, size=count)
    folds = random.normal(0, 0.05, size=5)
    level = quality[:, None] + folds + random.normal(0, particular, size=(count, 5))
    paces = pace * random.uniform(0.3, 1.0, size=count)
    learnt = 1 - np.exp(-np.arange(1, epochs + 1) / paces[:, None])
    noise = random.normal(0, 0.015, size=(count, 5, epochs))
    return level[:, :, None] * learnt[:, None, :] + noise


def _trained(console: Console, folder: Folder) -> Curves:
    """Curves of random configurations on the demo corpus, all folds of all of them."""
    preset = Path(__file__).parents[2] / "configs" / "demo.yaml"
    config, _ = parse([str(preset)], program="benchmark")
    random = np.random.default_rng(0)
    variants = {
        f"draw {k}": Variant(
            {
                "training.learning_rate": float(10 ** random.uniform(-4.5, -1.7)),
                "training.batch_size": int(random.choice([16, 32, 64])),
                "training.weight_decay": float(10 ** random.uniform(-6, -2)),
                "model.cltnet.dropout": float(random.uniform(0.0, 0.6)),
                "loss.mu1": float(random.uniform(0.0, 0.6)),
            }
        )
        for k in range(_TRIALS)
    }
    training = replace(config.training, max_epochs=_EPOCHS, patience=_EPOCHS)
    storage = replace(config.storage, runs=folder.path("runs"))
    ablation = AblationConfig(variants)
    config = replace(config, name="draws", training=training, ablation=ablation, storage=storage)
    ablate(config, resume=False, console=console)
    curves = []
    for k in range(_TRIALS):
        place = folder / "runs" / "draws" / f"draw_{k}"
        found = [read_result(place / f"fold_{fold}") for fold in range(5)]
        curves.append([[epoch.val["ua"] for epoch in one.history] for one in found if one])
    return np.array(curves)
