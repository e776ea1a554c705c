"""The chosen configuration as a preset that `jobs.cross_validate` runs and that repeats the trial's numbers."""

from typing import Any

import yaml

from raysys.config import Config, differences
from raysys.search.view import describe, show_score


def best_preset(config: Config, result: dict[str, Any], *, study: str) -> str:
    """YAML of a configuration, with its record as head comment.

    Args:
        config: the chosen one.
        result: of the study, see `raysys.search.study`.
        study: where the study is.
    """
    plain = differences(config, Config())
    for group in ("name", "search", "storage", "tracking"):
        plain.pop(group, None)
    chosen, objective = result["chosen"], result["objectives"][0]
    score = show_score(objective, chosen["val"][objective])
    head = [
        f"Chosen by a study on {result['corpus']}: {chosen['name']}.",
        f"           {describe(chosen['values']) or 'no trial did better than the untuned configuration'}",
        f"Source:    the best of {len(result['trials'])} trials and the untuned configuration,",
        f"           by validation {objective}.",
        f"Command:   python -m jobs.cross_validate {study}/best.yaml",
        f"Hardware:  {result['seconds']['workers']} worker(s).",
        f"Expected:  validation {objective} {score}; test UA {100 * result['test']['mean']['ua']:.1f}, nested estimate "
        f"{100 * result['nested']['mean']['ua']:.1f} (means over folds, %).",
    ]
    return "\n".join(f"# {line}" for line in head) + "\n\n" + yaml.safe_dump(plain, sort_keys=False)
