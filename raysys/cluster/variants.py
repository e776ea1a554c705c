"""An ablation before it runs: variants x seeds -> trials that share corpus, features and folds."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64

from raysys.cluster.plan import Plan, make_plan
from raysys.config import AblationConfig, Config, field_names, replaced
from raysys.config.settings import check_name, typed
from raysys.corpus.audit import Finding
from raysys.errors import ConfigError
from raysys.storage import resolve_folder
from raysys.tracking.priors import resolve_prior

_ORDER = ("audio", "text", "video")


@dataclass(frozen=True)
class AblationTrial:
    """One training of one variant."""

    name: str
    """Of its folder and its MLflow run."""
    variant: str
    config: Config
    similarity: Float64[np.ndarray, "fold class class"] | None
    """S of the emotion-aware term, where the variant has one."""


def make_ablation(config: Config) -> tuple[Plan, list[AblationTrial]]:
    """Check every variant, then read, check and extract what any of them needs.

    All variants see the same utterances: those that are usable in every modality that one of them reads.

    Raises:
        RaysysError: a variant that cannot be, or anything that `make_plan` raises.
    """
    configs = _variant_configs(config)
    modalities = {m for one in configs.values() for m in one.model.modalities}
    widest = replace(next(iter(configs.values())), ablation=config.ablation)
    widest = replaced(widest, {"model.modalities": tuple(m for m in _ORDER if m in modalities)})
    plan = make_plan(widest, models={one.model.name for one in configs.values()})
    runs, findings = resolve_folder(config.storage.runs), list[Finding]()
    trials = []
    for variant, one in configs.items():
        prior = resolve_prior(
            one, plan.corpus.emotions, plan.origin, n_folds=len(plan.folds), runs=runs
        )
        if prior and prior.finding and prior.finding not in (*plan.audit, *findings):
            findings.append(prior.finding)
        for seed in range(config.seed, config.seed + config.ablation.seeds):
            name = _slug(variant) if config.ablation.seeds == 1 else f"{_slug(variant)}-seed_{seed}"
            matrices = None if prior is None else prior.matrices
            trials.append(AblationTrial(name, variant, replace(one, seed=seed), matrices))
    return replace(plan, config=config, audit=(*plan.audit, *findings)), trials


def _variant_configs(config: Config) -> dict[str, Config]:
    """Name -> the config with the variant's settings.

    Raises:
        ConfigError: no variants, two of one name, or settings that cannot be.
    """
    variants = config.ablation.variants
    if not variants:
        raise ConfigError(
            "ablation.variants is empty: name configurations to compare, as in configs/ablations/"
        )
    known, slugs = field_names(type(config)), dict[str, str]()
    base = replace(config, ablation=AblationConfig())
    configs = {}
    for name, variant in variants.items():
        other = slugs.setdefault(_slug(name), name)
        if other != name or not _slug(name):
            raise ConfigError(
                f"ablation.variants: '{other}' and '{name}' would share a folder: name them apart"
            )
        where = f"ablation.variants: {name}"
        values: Mapping[str, Any] = variant.settings
        for setting in values:
            check_name(setting, known, where=where)
        try:
            settings = {n: typed(base, n, value, where=where) for n, value in values.items()}
            configs[name] = replaced(base, settings)
        except ConfigError as error:
            raise ConfigError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from error
    return configs


def _slug(name: str) -> str:
    """A folder's name."""
    return re.sub(r"[^\w.-]+", "_", name).strip("_.").lower()
