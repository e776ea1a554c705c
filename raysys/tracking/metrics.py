"""What numbers of a result are called in MLflow, which sorts and groups them by name: test scores come first.

one configuration   test/ua, test/ua_std, test/ua_seed_std, test/f1/EMOTION, test/ece, test/brier, test/nll,
                    test/ua/COLUMN VALUE, test/gap_ua/COLUMN (and _low, _high), test/vad_mantel_r, test_baseline/ua,
                    test_minus_baseline/ua (and _low, _high), test_svm_with_val/ua, test_logistic/ua, test_ensemble/ua,
                    time/..., val_best/ua, usage/parameters, usage/seconds (an utterance), ...
ablation            test/METRIC of the first variant, test_NAME/METRIC of the others
study               test/..., test_by_fold/..., test_nested/..., test_untuned/... (and _std), test_difference/...,
                    test_nested_difference/... (and _low, _high), test_minus_baseline/...; of fresh seeds
                    test_confirmed/..., test_confirmed_untuned/..., test_confirmed_difference/...
"""

import re
from collections.abc import Mapping

from raysys.config.names import folder_name
from raysys.report.cost import cost_figures
from raysys.report.groups import group_figures
from raysys.report.results import AblationResult, StudyResult, TrialResult

_NO_SECONDS = ("efficiency", "utilisation", "workers")
_ENDS = {"": "mean", "_low": "low", "_high": "high"}


def trial_metrics(result: TrialResult) -> dict[str, float]:
    """Metrics of one configuration."""
    values: dict[str, float] = {}
    for name, mean in result.mean["test"].items():
        values[f"test/{name}"] = mean
        values[f"test/{name}_std"] = result.std["test"][name]
        values[f"test/{name}_seed_std"] = result.seed_std["test"][name]
        for part, beside in (("val_best", "val"), ("test_baseline", "baseline")):
            if name in result.mean[beside]:
                values[f"{part}/{name}"] = result.mean[beside][name]
    for place, one in enumerate(result.baselines):
        with_val = "" if one.fitted_on == "train" else "_with_val"
        if place:  # the first one's scores are there
            prefix = f"test_{one.name.lower()}{with_val}"
            values |= {f"{prefix}/{name}": value for name, value in one.mean.items()}
            continue
        for name, found in one.difference.items():
            for end, key in _ENDS.items():
                values[f"test_minus_baseline/{name}{end}"] = getattr(found, key)
    if result.ensemble:
        values |= {f"test_ensemble/{name}": value for name, value in result.ensemble.mean.items()}
    values |= _times(result.seconds)
    values |= cost_figures(result.cost)
    details = {**result.summary.scores(), **result.summary.figures()}
    return values | _details({**details, **group_figures(result.groups)})


def _times(seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds, with the shares and counts that belong to them."""
    return {
        f"time/{name}{'' if name in _NO_SECONDS else '_seconds'}": value
        for name, value in seconds.items()
    }


def ablation_metrics(result: AblationResult) -> dict[str, float]:
    """Metrics of the variants."""
    values: dict[str, float] = {}
    for place, variant in enumerate(result.variants):
        prefix = f"test_{folder_name(variant.name)}" if place else "test"
        values |= {f"{prefix}/{name}": v for name, v in variant.mean["test"].items()}
        own = f"_{folder_name(variant.name)}" if place else ""
        values |= {
            f"usage{own}/{k.split('/')[1]}": v for k, v in cost_figures(variant.cost).items()
        }
    return values


def study_metrics(result: StudyResult) -> dict[str, float]:
    """Metrics of what was chosen, and of what it is compared with."""
    values: dict[str, float] = {}
    parts = {"test": result.test, "test_by_fold": result.by_fold, "test_untuned": result.untuned}
    differences = {"test_difference": result.difference}
    if result.nested:
        parts["test_nested"] = result.nested.test
        differences["test_nested_difference"] = result.nested.difference
    if result.over_baseline:
        differences["test_minus_baseline"] = result.over_baseline
    if result.confirmed:
        parts |= {"test_confirmed": result.confirmed.chosen}
        parts |= {"test_confirmed_untuned": result.confirmed.untuned}
        differences["test_confirmed_difference"] = result.confirmed.difference
    for part, scores in parts.items():
        values |= {f"{part}/{name}": value for name, value in scores.mean.items()}
        values |= {f"{part}/{name}_std": value for name, value in scores.std.items()}
    for part, difference in differences.items():
        for name, found in difference.items():
            values |= {f"{part}/{name}{end}": getattr(found, key) for end, key in _ENDS.items()}
    values |= {f"val_best/{name}": value for name, value in result.chosen.val.items()}
    values |= _times(result.seconds)
    values |= cost_figures(result.cost)
    details = {**result.summary.scores(), **result.summary.figures()}
    return values | _details({**details, **group_figures(result.groups)})


def _details(scores: Mapping[str, float]) -> dict[str, float]:
    """Under the output's name where MLflow takes it, else under its place among the outputs."""
    named = {}
    for place, (key, value) in enumerate(scores.items()):
        metric, slash, output = key.partition("/")
        if not slash:
            named[f"test/{metric}"] = value
            continue
        output = output.replace("@", "-")  # of a perspective
        usable = re.fullmatch(r"[\w\-. ]+", output, re.ASCII)
        named[f"test/{metric}/{output if usable else f'class_{place}'}"] = value
    return named
