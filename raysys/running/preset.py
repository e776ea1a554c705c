"""The chosen configuration as a preset that `jobs.cross_validate` runs and that repeats the trial's numbers."""

import shlex

import yaml

from raysys.config import Config
from raysys.config.names import describe
from raysys.report.results import StudyResult
from raysys.settings import differences


def best_preset(config: Config, result: StudyResult, *, study: str) -> str:
    """YAML of a configuration, with its record as head comment.

    Args:
        config: the chosen one.
        result: of the study.
        study: where the study is.
    """
    content = differences(config, Config())
    for group in ("name", "search", "storage", "tracking"):
        content.pop(group, None)
    chosen = result.chosen
    objective = next(m for m in result.metrics if m.name == result.objectives[0])
    main = next(m for m in result.metrics if m.name == config.task_type.main)
    score = objective.show(chosen.val[objective.name])
    test = main.show(result.test.mean[main.name])
    nested = f", nested {main.show(result.nested.test.mean[main.name])}" if result.nested else ""
    head = [
        f"Chosen by a study on {result.corpus}: {chosen.name}.",
        f"           {describe(chosen.values) or 'no trial did better than the untuned configuration'}",
        f"Source:    the best of {len(result.trials)} trials and the untuned configuration,",
        f"           by validation {objective.name}.",
        f"Command:   python -m jobs.cross_validate {shlex.quote(f'{study}/best.yaml')}",
        f"Hardware:  {result.seconds['workers']:.0f} worker(s).",
        f"Expected:  validation {objective.name} {score}; test {main.title} {test}{nested} (means over folds).",
    ]
    return (
        "\n".join(f"# {line}" for line in head) + "\n\n" + yaml.safe_dump(content, sort_keys=False)
    )
