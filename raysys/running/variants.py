"""An ablation before it runs: variants -> trials that share corpus, features, folds and seeds."""

from collections.abc import Mapping
from dataclasses import replace

from raysys.config import Config
from raysys.config.names import check_effect, check_name, folder_name, known_names, typed
from raysys.config.running import AblationConfig
from raysys.errors import ConfigError, RaysysError, lookup
from raysys.models import model_names
from raysys.running.command import look_ahead
from raysys.running.plan import Plan, deciding, make_plan
from raysys.running.starts import planned_alike
from raysys.settings import digest, replaced
from raysys.trials.trial import Trial


def make_ablation(config: Config) -> tuple[Plan, list[Trial]]:
    """Check every variant, then read, check and extract what any of them needs.

    All variants see the same utterances: those that are usable in every modality that one of them reads.

    Raises:
        RaysysError: a variant that cannot be, or anything that `make_plan` raises.
    """
    configs = variant_configs(config)
    models = {one.model.name for one in configs.values()}
    plan = make_plan(_widest(configs), models=models, ahead=look_ahead)
    trials, settings = [], {cell.name: cell.settings for cell in config.ablation.cells}
    for variant, one in configs.items():
        plan.task.check_loss(one.loss)
        plan.task.check_balance(one.balance)
        try:
            plan.check_share(one)
        except RaysysError as error:
            raise ConfigError(f"ablation.variants: {variant}: {error}") from error
        prior = plan.prior if one.loss.omega or one.loss.space else None
        values = dict(settings[variant])
        one = planned_alike(one, plan.config)
        trials.append(Trial(folder_name(variant), one, prior, values=values, variant=variant))
    what = [(trial.name, deciding(trial.config)) for trial in trials]
    identity = digest("ablation", plan.identity, deciding(config), what)
    return replace(plan, config=planned_alike(config, plan.config), identity=identity), trials


def variant_configs(config: Config) -> dict[str, Config]:
    """Name -> the config with the settings of a variant, in each column where there are some.

    Raises:
        ConfigError: no variants, two of one name, or settings that cannot be.
    """
    if not config.ablation.variants:
        raise ConfigError(
            "ablation.variants is empty: name configurations to compare, as in configs/ablations/"
        )
    known, slugs = known_names(config), dict[str, str]()
    base = replace(config, ablation=AblationConfig())
    configs = {}
    for cell in config.ablation.cells:
        name, values = cell.name, cell.settings
        if not folder_name(name):
            raise ConfigError(
                f"ablation.variants: '{name}' needs a letter (a-z) or digit, to name its folder"
            )
        other = slugs.setdefault(folder_name(name), name)
        if other != name:
            raise ConfigError(
                f"ablation.variants: '{other}' and '{name}' would share a folder: name them apart"
            )
        where = f"ablation.variants: {name}"
        for setting in values:
            check_name(setting, known, where=where)
        try:
            settings = {n: typed(base, n, value, where=where) for n, value in values.items()}
            configs[name] = replaced(base, settings)
            for setting in settings:
                check_effect(configs[name], setting, where=where)
            lookup(model_names(), configs[name].model.name, kind="model")
        except ConfigError as error:
            raise ConfigError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from error
        same = [other for other in configs if other != name and configs[other] == configs[name]]
        if same:
            raise ConfigError(f"{where}: is the same configuration as '{same[0]}': leave one out")
    _check_curve(config.ablation)
    return configs


def _check_curve(ablation: AblationConfig) -> None:
    if not ablation.curve:
        return
    for name, variant in ablation.variants.items():
        value = variant.settings.get(ablation.curve)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ConfigError(
                f"ablation.curve is '{ablation.curve}', but '{name}' gives it no number: set it there, or leave out "
                "ablation.curve"
            )


def _widest(configs: Mapping[str, Config]) -> Config:
    """The first variant's config with whatever corpus, features and matrix any variant needs."""
    modalities = dict.fromkeys(m for one in configs.values() for m in one.model.modalities)
    needed = {
        "model.modalities": tuple(modalities),
        "loss.omega": max(one.loss.omega for one in configs.values()),
    }
    widest: Config = replaced(next(iter(configs.values())), needed)
    return widest
