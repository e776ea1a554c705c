"""Settings by their dotted names: which ones may differ between trials, what they may be, how people call them."""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from raysys.encoders.encoder import EncoderConfig
from raysys.errors import ConfigError, nearest
from raysys.settings import field_names, holder_of, value_of

SYMBOLS = {
    "loss.mu1": "mu1",
    "loss.mu2": "mu2",
    "balance.sigma": "sigma",
    "balance.p": "p",
    "loss.tau": "tau",
    "loss.gamma": "gamma",
    "loss.alpha": "alpha",
    "loss.omega": "omega",
    "training.weight_decay": "lambda",
}
"""Setting -> its symbol in the papers; reports use it."""

_GROUPS = ("model", "loss", "balance", "training")
_FIXED = {
    "loss.similarity",
    "loss.space",
    "training.device",
    "training.seeds",
    "training.start_from",
    "training.together",
}


def symbol(setting: str) -> str:
    """How a setting is called in reports: its paper's symbol, or its own name."""
    return SYMBOLS.get(setting, setting)


def describe(values: Mapping[str, Any]) -> str:
    """Values under their papers' symbols, in one line."""
    return ", ".join(f"{symbol(name)} {show_value(value)}" for name, value in values.items())


def show_value(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, tuple | list):
        return " + ".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def known_names(config: Any) -> dict[str, type | None]:
    """`raysys.settings.field_names` of a config, with the `options` of its model where that is a plug-in."""
    known = field_names(type(config))
    if config.model.is_plugin:
        known |= field_names(type(config.model.chosen), "model.options.")
    return known


def kind_of(config: Any, name: str) -> type:
    """The type of a setting."""
    return type(value_of(config, name))


def check_name(name: str, known: dict[str, type | None], *, where: str) -> None:
    """Refuse what cannot differ between configurations that share a pool, its features and its folds.

    Args:
        name: dotted name.
        known: see `known_names`.
        where: what names it, for the message.

    Raises:
        ConfigError: an unknown setting, a group, or a setting that is the same for all.
    """
    free = [n for n, group in known.items() if group is None and n.split(".")[0] in _GROUPS]
    if name not in known:
        raise ConfigError(f"{where}: unknown setting '{name}': {nearest(name, free)}")
    if known[name] is not None:
        raise ConfigError(f"{where}: '{name}' is a group of settings: name one of them")
    if name not in free or name in _FIXED:
        raise ConfigError(
            f"{where}: '{name}' is the same for all that share corpus, features and folds: name settings of "
            f"{', '.join(_GROUPS)} (but not {', '.join(sorted(_FIXED))}), or compare separate runs by jobs.compare"
        )


def check_effect(config: Any, name: str, *, where: str, beside: Collection[str] = ()) -> None:
    """Refuse a setting that does nothing as the others stand: `idle` of its class says when.

    Args:
        config: with the others.
        name: dotted name of the setting.
        where: what names it, for the message.
        beside: settings that vary too, of which nothing is known.

    Raises:
        ConfigError: another setting switches it off, or it is of another model.
    """
    group, _, last = name.rpartition(".")
    idle: dict[str, tuple[Any, ...]] = {}
    for kind in type(holder_of(config, name)).__mro__:
        off = vars(kind).get("idle", {}).get(last, {})
        idle |= {f"{group}.{other}": values for other, values in off.items()}
    if group.startswith("model.") and group not in ("model.options", f"model.{config.model.name}"):
        idle["model.name"] = (config.model.name,)
    _check_encodes(config, name, where=where)
    for other, values in idle.items():
        if other not in beside and value_of(config, other) in values:
            raise ConfigError(
                f"{where}: '{name}' does nothing while {other} is {value_of(config, other)!r}: set --{other} too"
            )


def _check_encodes(config: Any, name: str, *, where: str) -> None:
    """Refuse a setting of an encoder that encodes nothing."""
    group, encoder = (*name.split("."), "")[:2]
    kind = type(getattr(config.features, encoder, None))
    if group != "features" or not issubclass(kind, EncoderConfig):
        return
    read = [m for m in kind.modalities if m in config.model.modalities]
    if all(config.features.encoder_of(modality) != encoder for modality in read):
        chosen = [f"features.{m} is {config.features.encoder_of(m)}" for m in read]
        why = " and ".join(chosen) or f"the model reads no {' or '.join(kind.modalities)}"
        which = (read or list(kind.modalities))[0]
        remedy = f"--features.{which} {encoder}" if read else "--model.modalities"
        raise ConfigError(f"{where}: '{name}' does nothing while {why}: set {remedy} too")


def typed(config: Any, name: str, value: Any, *, where: str) -> Any:
    """A value in the setting's own type; a list becomes a tuple.

    Args:
        config: any config, for the type.
        name: dotted name of a setting.
        value: as YAML or a flag gives it.
        where: what names it, for the message.

    Raises:
        ConfigError: it is of another kind, or not one of the setting's words.
    """
    kind, words = kind_of(config, name), _words(config, name)
    if kind is tuple and isinstance(value, list):
        value = tuple(value)
    fits = isinstance(value, (int, float) if kind is float else kind)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    finite = not isinstance(value, float) or math.isfinite(value)
    if not fits or not finite or (isinstance(value, bool) and kind is not bool):
        what = (
            f"give a list, as in [{value}]" if kind is tuple else f"it is of type {kind.__name__}"
        )
        raise ConfigError(f"{where}: '{name}' cannot be {value!r}: {what}")
    for word in value if isinstance(value, tuple) else (value,):
        if words and word not in words:
            raise ConfigError(f"{where}: '{name}' cannot be {word!r}: {nearest(str(word), words)}")
    return float(value) if kind is float else value


def folder_name(text: str) -> str:
    """A name that people chose, as a folder's and MLflow's."""
    return re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII).strip("_.").lower()


def _words(config: Any, name: str) -> tuple[str, ...]:
    """What a setting that takes a few words may be; empty for any other."""
    last = name.rpartition(".")[2]
    hint = get_type_hints(type(holder_of(config, name)))[last]
    inner = get_args(hint)
    if get_origin(hint) is tuple:
        hint, inner = inner[0], get_args(inner[0])
    return inner if get_origin(hint) is Literal else ()
