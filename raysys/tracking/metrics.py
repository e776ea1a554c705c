"""What numbers of a result are called in MLflow.

one configuration   test/ua, test/ua_std, best_val/ua, baseline/ua, fold_K/test/ua, test/f1/EMOTION, seconds/...
ablation            test/METRIC of the first variant, NAME/test/METRIC of the others
study               best_val/..., test/..., nested/..., untuned/... (and _std), difference/... (and _low, _high)
"""

import re
from collections.abc import Mapping

from raysys.config.names import folder_name
from raysys.report.results import AblationResult, StudyResult, TrialResult

_ENDS = {"": "mean", "_low": "low", "_high": "high"}


def trial_metrics(result: TrialResult) -> dict[str, float]:
    """Of one configuration."""
    values: dict[str, float] = {}
    for name, mean in result.mean["test"].items():
        values[f"test/{name}"] = mean
        values[f"test/{name}_std"] = result.std["test"][name]
        values[f"best_val/{name}"] = result.mean["val"][name]
        values[f"baseline/{name}"] = result.mean["baseline"][name]
    for fold in result.folds:
        values |= {f"fold_{fold.fold}/test/{name}": value for name, value in fold.test.items()}
    values |= {f"seconds/{name}": value for name, value in result.seconds.items()}
    return values | _details(result.summary.scores())


def ablation_metrics(result: AblationResult) -> dict[str, float]:
    """Of the variants."""
    values: dict[str, float] = {}
    for place, variant in enumerate(result.variants):
        prefix = f"{folder_name(variant.name)}/" if place else ""
        values |= {f"{prefix}test/{name}": v for name, v in variant.mean["test"].items()}
    return values


def study_metrics(result: StudyResult) -> dict[str, float]:
    """Of what was chosen, and what it is compared with."""
    values = {f"best_val/{name}": value for name, value in result.chosen.val.items()}
    for part in ("test", "nested", "untuned"):
        scores = getattr(result, part)
        values |= {f"{part}/{name}": value for name, value in scores.mean.items()}
        values |= {f"{part}/{name}_std": value for name, value in scores.std.items()}
    for name, found in result.difference.items():
        values |= {f"difference/{name}{end}": getattr(found, key) for end, key in _ENDS.items()}
    values |= {f"seconds/{name}": value for name, value in result.seconds.items()}
    return values | _details(result.summary.scores())


def _details(scores: Mapping[str, float]) -> dict[str, float]:
    """Under the output's name where MLflow takes it, else under its place among the outputs."""
    named = {}
    for place, (key, value) in enumerate(scores.items()):
        metric, _, output = key.partition("/")
        usable = re.fullmatch(r"[\w\-. ]+", output, re.ASCII)
        named[f"test/{metric}/{output if usable else f'class_{place}'}"] = value
    return named
