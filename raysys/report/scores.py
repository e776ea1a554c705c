"""What results say in numbers: parts of `raysys.report.results`, as plain types."""

import math
from dataclasses import dataclass, field
from typing import Any

from raysys.storage import Number
from raysys.tasks.resampling import Over

Scores = dict[str, Number]
"""Metric -> value."""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of each score."""

    mean: Scores
    std: Scores


@dataclass(frozen=True)
class Difference:
    """A mean difference and the ends of its 95 % interval."""

    mean: Number
    low: Number
    high: Number


@dataclass(frozen=True)
class PartScores:
    """Scores of a configuration on one part: fold by fold (mean over seeds), and over them."""

    folds: tuple[Scores, ...]
    mean: Scores
    std: Scores
    """Standard deviation over folds."""
    seed_std: Scores
    """Standard deviation over seeds of the mean over folds: what another seed would change."""


@dataclass(frozen=True)
class FoldScores:
    """One fold, trained with one seed."""

    fold: int
    seed: int
    epochs: int
    best_epoch: int
    """Epoch whose weights are kept."""
    val: Scores
    """Validation scores of that epoch."""
    test: Scores
    baseline: Scores
    """The baseline on the same test part."""
    calibrated: Scores = field(default_factory=dict)
    """What was fitted on val to make outputs mean what they say, such as a temperature."""


@dataclass(frozen=True)
class OnTest:
    """Differences on the one test part of an official split."""

    difference: dict[str, Difference]
    """Differences with the interval of a paired bootstrap: what another test part of the kind would change."""
    units: Over
    """What the bootstrap draws."""


@dataclass(frozen=True)
class BaselineResult:
    """A simple baseline, tuned on the same validation parts."""

    name: str
    fitted_on: str
    """train, or train and val."""
    settings: str
    """As they were chosen; empty where there is nothing to choose."""
    mean: Scores
    """Mean over folds on test."""
    std: Scores
    difference: dict[str, Difference]
    """The model minus the baseline, on the same folds."""
    on_test: OnTest | None = None
    """The same difference over what was tested; None with several folds."""


@dataclass(frozen=True)
class Cost:
    """Cost of a configuration; NaN where it is not known."""

    parameters: int
    """Parameters that are trained."""
    encoder_parameters: int
    """Parameters of the frozen encoders."""
    seconds: Number
    """Seconds an utterance takes on one core, from its features."""
    encoder_seconds: Number
    """Seconds that computing its features takes before that, reading files included; on a GPU where there was one."""
    real_time: Number
    """`seconds` as a share of the audio's."""
    real_time_with_encoders: Number
    peak_gb: Number
    """Most memory of a worker, with libraries and features, in 10^9 bytes."""
    gpu_seconds: Number = math.nan
    """As `seconds`, on the GPU where it was trained."""
    gpu_gb: Number = math.nan


@dataclass(frozen=True)
class GroupScores:
    """Scores by the values of one column of the corpus, over the test utterances of all folds."""

    column: str
    scores: dict[str, Scores]
    """Value -> scores, and how many `utterances` and `speakers`, the largest group first."""
    metric: str
    """Metric of the gap."""
    best: str
    """The better of the two values that are furthest apart."""
    worst: str
    gap: Difference
    """Best - worst; its interval holds for all pairs of values at once."""
    over: Over
    """What the interval varies."""
    left_out: int = 0
    """Utterances without a value, or with one that too few have."""


@dataclass(frozen=True)
class Choice:
    """The configuration that a study chose, on validation alone."""

    name: str
    round: int
    values: dict[str, Any]
    val: Scores


@dataclass(frozen=True)
class Confirmation:
    """The chosen and the untuned configuration, trained again with seeds that took no part in the choice."""

    seeds: tuple[int, ...]
    chosen: PartScores
    untuned: PartScores
    difference: dict[str, Difference]
    """Difference over folds, each the mean of its seeds; over seeds where there is one fold."""
    enough: dict[str, tuple[int, int] | None]
    """Folds x seeds with which a difference of 0.01 could be detected; None: more than can be trained."""
    on_test: OnTest | None = None
    """As of a `BaselineResult`."""


@dataclass(frozen=True)
class RoundResult:
    """One search of a study."""

    round: int
    name: str | None
    """The best trial, if one has all its folds."""
    best: float | None
    moved: float | None
    """How far its averaged matrix is from the round's S (Frobenius)."""


@dataclass(frozen=True)
class NestedChoice:
    """What the search of one fold chose, of which its test part knew nothing."""

    fold: int
    name: str
    values: dict[str, Any]
    val: Number
    """Mean over the inner folds of the objective."""


@dataclass(frozen=True)
class NestedResult:
    """What searching like this gives on data that took no part in it."""

    inner_folds: int
    choices: tuple[NestedChoice, ...]
    """Fold by fold."""
    test: PartScores
    """Test scores of the choices, each trained and tested on its fold."""
    difference: dict[str, Difference]
    """Nested - untuned, fold by fold."""
    trainings: int
    """Trainings that the nested search took."""


@dataclass(frozen=True)
class Effort:
    """Epochs of folds that trials did, could have done at most, and the share that the scheduler saved."""

    done: int
    most: int
    saved: float
