"""The space of a study: which settings, what each may be, and how it looks to Optuna.

    SearchConfig.space -> checked Space -> Optuna distributions
    Optuna's params  <-encode- / -decode->  values by the settings' names

mu1 and mu2 must stay on the simplex mu1 + mu2 <= 1. A bound that moves with mu1 would take mu2 out of TPE's joint
model, so Optuna proposes mu2's share of what mu1 leaves instead: the rule holds by construction, every range is fixed.
"""

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from raysys.config import Config
from raysys.config.names import check_effect, check_name, kind_of, known_names, typed
from raysys.config.running import Distribution
from raysys.errors import ConfigError
from raysys.settings import replaced, value_of

_WHERE = "search.space"
_JUDGES = ("training.keep", "training.select")
_PUBLISHED = (
    # MultiEMO's scripts for IEMOCAP and MELD; PDDS with the best p and the first p of Liang et al. 2023.
    {"loss.mu1": 0.4, "loss.mu2": 0.4, "loss.tau": 0.8, "loss.gamma": 2.4, "loss.alpha": 1.1}
    | {"balance.sigma": 1.0, "balance.p": 0.8},
    {"loss.mu1": 0.3, "loss.mu2": 0.3, "loss.tau": 1.4, "loss.gamma": 2.0, "loss.alpha": 1.2}
    | {"balance.sigma": 1.0, "balance.p": 0.5},
)
_FEW = 64
"""Whole numbers of a range that are tried one by one before a study starts."""
_DIGITS = 12
"""Digits that mu2, and values on steps, are rounded to: a value that was coded as a share comes back as itself."""
_MU1, _MU2, _SHARE = "loss.mu1", "loss.mu2", "loss.mu2_share"


@dataclass(frozen=True)
class Space:
    """A checked space around a base config; made by `make_space`."""

    base: Config
    settings: Mapping[str, Distribution]

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's view: parameter -> distribution. mu2 appears as its share, next to mu1."""
        found = {name: self._to_optuna(name) for name in self.settings}
        if self._on_simplex:
            found[_SHARE] = FloatDistribution(0.0, 1.0)
            del found[_MU2]
        return found

    def decode(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Values by the settings' names, from Optuna's parameters."""
        params = self.settled(params)
        values = {name: params[name] for name in self.settings if name in params}
        for name, item in self.settings.items():
            if item.choices:
                values[name] = item.choices[_labels(item).index(params[name])]
        if self._on_simplex:
            low, room = self._mu2_room(values[_MU1])
            values[_MU2] = round(low + params[_SHARE] * room, _DIGITS)
        return {name: values[name] for name in self.settings}

    def settled(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Optuna's parameters on the steps of their ranges, where it counts to 0.30000000000000004 and allows 0.3."""
        found = dict(params)
        for name, one in self.distributions.items():
            if isinstance(one, FloatDistribution) and one.step and name in found:
                found[name] = min(max(round(found[name], _DIGITS), one.low), one.high)
        return found

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Optuna's parameters for given values."""
        params = dict(values)
        for name, item in self.settings.items():
            if item.choices:
                params[name] = _labels(item)[item.choices.index(values[name])]
        if self._on_simplex:
            low, room = self._mu2_room(values[_MU1])
            params[_SHARE] = (values[_MU2] - low) / room if room > 0 else 0.0
            del params[_MU2]
        return params

    def config(self, values: Mapping[str, Any]) -> Config:
        """The base config with these values.

        Raises:
            ConfigError: they do not go together.
        """
        config: Config = replaced(self.base, dict(values))
        return config

    def base_values(self) -> dict[str, Any]:
        """What the searched settings are in the base config."""
        return {name: value_of(self.base, name) for name in self.settings}

    def published_points(self) -> list[dict[str, Any]]:
        """Values that papers published, where they lie in the space; other settings as in the base config."""
        points: list[dict[str, Any]] = []
        for published in _PUBLISHED:
            if not published.keys() & self.settings.keys():
                continue
            point = {name: self._start(name, published.get(name)) for name in self.settings}
            if self._on_simplex:
                low, room = self._mu2_room(point[_MU1])
                point[_MU2] = min(point[_MU2], low + room)
            if point not in points:
                points.append(point)
        return points

    @property
    def _on_simplex(self) -> bool:
        ranges = [name for name in (_MU1, _MU2) if name in self.settings]
        return len(ranges) == 2 and not any(self.settings[name].choices for name in ranges)

    def _mu2_room(self, mu1: float) -> tuple[float, float]:
        """Smallest mu2, and how far above it mu2 may lie with this mu1."""
        low, high = _ends(self.settings[_MU2])
        return low, max(0.0, min(high, 1 - mu1) - low)

    def _to_optuna(self, name: str) -> BaseDistribution:
        item = self.settings[name]
        if item.choices:
            return CategoricalDistribution(_labels(item))
        low, high = _ends(item)
        if kind_of(self.base, name) is int:
            return IntDistribution(int(low), int(high), log=item.log, step=int(item.step or 1))
        return FloatDistribution(low, high, log=item.log, step=item.step)

    def _start(self, name: str, published: Any) -> Any:
        """The published value, else the base's, else the middle: the first that lies in the space."""
        item, base = self.settings[name], value_of(self.base, name)
        if item.choices:
            return next((v for v in (published, base) if v in item.choices), item.choices[0])
        low, high = _ends(item)
        inside = [v for v in (published, base) if v is not None and low <= v <= high]
        middle = (low * high) ** 0.5 if item.log else (low + high) / 2
        value = inside[0] if inside else middle
        if item.step:
            value = low + round((value - low) / item.step) * item.step
        return round(value) if kind_of(self.base, name) is int else float(value)


def make_space(config: Config) -> Space:
    """Check the space of a config.

    Raises:
        ConfigError: an unknown or fixed setting, one that decides what is compared, an empty range, values that the
            setting refuses, mu1 + mu2 above 1, or a setting without effect.
    """
    settings = config.search.space
    if not settings:
        raise ConfigError("search.space is empty: name settings to search, as in configs/studies/")
    for name, item in settings.items():
        check_name(name, known_names(config), where=_WHERE)
        if name in _JUDGES:
            raise ConfigError(
                f"{_WHERE}: '{name}' decides which epoch's score a trial is compared by, so no score can choose it: "
                f"set --{name}, or compare its values in an ablation"
            )
        _check_shape(name, item, config)
        check_effect(config, name, where=_WHERE, beside=settings)
    _check_simplex(settings, config)
    for name in settings:
        _check_values(name, settings, config)
    return Space(
        config, {name: _typed_choices(name, item, config) for name, item in settings.items()}
    )


def _check_shape(name: str, item: Distribution, config: Config) -> None:
    kind, where = kind_of(config, name), f"search.space: '{name}'"
    ends = (item.low, item.high)
    if item.choices:
        if ends != (None, None) or item.log or item.step is not None:
            raise ConfigError(f"{where} has choices and a range: keep one of them")
        if len(set(item.choices)) != len(item.choices):
            raise ConfigError(f"{where} has a choice twice: name each once")
        for choice in item.choices:
            typed(config, name, choice, where=_WHERE)
        return
    if item.low is None or item.high is None:
        raise ConfigError(f"{where} needs low and high, or choices")
    if kind not in (int, float):
        raise ConfigError(f"{where} is not a number: give choices instead of low and high")
    if not (math.isfinite(item.low) and math.isfinite(item.high)):
        raise ConfigError(f"{where} must have an end: low {item.low:g} and high {item.high:g}")
    if not item.low < item.high:
        raise ConfigError(f"{where} is empty: low {item.low:g} must be below high {item.high:g}")
    if item.log and item.low <= 0:
        raise ConfigError(f"{where} is on a log scale: low {item.low:g} must be above 0")
    if item.step is not None:
        _check_step(where, item.step, item)
    whole = all(float(end).is_integer() for end in (item.low, item.high, item.step or 1))
    if kind is int and not whole:
        raise ConfigError(f"{where} holds whole numbers: low, high and step must be whole")


def _typed_choices(name: str, item: Distribution, config: Config) -> Distribution:
    """Whole numbers that YAML or a table gave as 16.0 are whole."""
    return replace(item, choices=tuple(typed(config, name, c, where=_WHERE) for c in item.choices))


def _check_step(where: str, step: float, item: Distribution) -> None:
    low, high = _ends(item)
    if item.log:
        raise ConfigError(f"{where} has log and step: keep one of them")
    if not (0 < step <= high - low):
        raise ConfigError(f"{where}: step {step:g} must be above 0 and at most high - low")
    steps = (high - low) / step
    if abs(steps - round(steps)) > 1e-6:
        raise ConfigError(
            f"{where}: high {high:g} must be low {low:g} plus whole steps of {step:g}"
        )


def _check_values(name: str, settings: Mapping[str, Distribution], config: Config) -> None:
    """Refuse a choice, an end, or a whole number in between that the config refuses, whatever the others are.

    Raises:
        ConfigError: as the config says it.
    """
    group = name.rpartition(".")[0]
    beside = {n: item for n, item in settings.items() if n != name and n.startswith(f"{group}.")}
    if group == "loss":
        beside = {n: Distribution(choices=(0.0,)) for n in beside if n in (_MU1, _MU2)}
    for value in _tried(settings[name], config, name):
        refusal: ConfigError | None = None
        for others in itertools.product(*(item.choices or _ends(item) for item in beside.values())):
            values = {**dict(zip(beside, others, strict=True)), name: value}
            try:
                replaced(config, {n: typed(config, n, v, where=_WHERE) for n, v in values.items()})
            except ConfigError as error:
                refusal = refusal or error
            else:
                refusal = None
                break
        if refusal is not None:
            raise refusal


def _tried(item: Distribution, config: Config, name: str) -> tuple[Any, ...]:
    """Values that stand for a distribution: all of them where they are few, else its ends."""
    if item.choices:
        return item.choices
    low, high = _ends(item)
    step = int(item.step or 1)
    if kind_of(config, name) is int and (high - low) / step < _FEW:
        return tuple(range(int(low), int(high) + 1, step))
    return low, high


def _check_simplex(settings: Mapping[str, Distribution], config: Config) -> None:
    lowest, highest = [], []
    for name in (_MU1, _MU2):
        value = value_of(config, name)
        ends = _numbers(settings[name]) if name in settings else (value,)
        lowest.append(min(ends))
        highest.append(max(ends))
    searched = [name for name in (_MU1, _MU2) if name in settings]
    uneven = settings.get(_MU2, Distribution())
    if len(searched) == 2 and not settings[_MU1].choices and (uneven.log or uneven.step):
        raise ConfigError(
            f"search.space: with {_MU1}, {_MU2} is proposed as a share of what mu1 leaves: leave out its log and step"
        )
    ranges = [name for name in searched if not settings[name].choices]
    if len(ranges) == 2:  # mu2 gives way to mu1, but not below its low
        worst, what = highest[0] + lowest[1], "mu1's high + mu2's low"
    else:
        worst, what = sum(highest), "the largest mu1 + mu2"
    if searched and worst > 1 + 1e-9:
        raise ConfigError(
            f"search.space: {what} is {worst:g}, but mu1 + mu2 must be at most 1: narrow {' or '.join(searched)}"
        )


def _labels(item: Distribution) -> list[Any]:
    """Choices as Optuna stores them: a list becomes its JSON text."""
    return [json.dumps(list(c)) if isinstance(c, tuple) else c for c in item.choices]


def _ends(item: Distribution) -> tuple[float, float]:
    assert item.low is not None
    assert item.high is not None
    return item.low, item.high


def _numbers(item: Distribution) -> tuple[float, ...]:
    return tuple(float(c) for c in item.choices) if item.choices else _ends(item)  # type: ignore[arg-type]
