"""What result.json holds, as types with a version. Terminal, MLflow and everything later read these.

    TrialResult      one configuration on all folds: a cross-validation, or a trial of an ablation
    AblationResult   several configurations side by side
    StudyResult      a search: what was chosen, what it scores, and what that rests on

In JSON, a number that cannot be known is null; here it is NaN.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import PlainValidator, TypeAdapter, ValidationError, ValidationInfo

from raysys.config.training import Keep
from raysys.corpus.finding import Finding
from raysys.errors import StorageError
from raysys.report.scores import (
    BaselineResult,
    Choice,
    Confirmation,
    Cost,
    Difference,
    Effort,
    FoldScores,
    GroupScores,
    NestedResult,
    OnTest,
    PartScores,
    RoundResult,
    Scores,
    Spread,
)
from raysys.sealed import read_sealed, write_sealed
from raysys.storage import Folder
from raysys.tasks import TASKS
from raysys.tasks.task import Metric
from raysys.trials.curve import Point
from raysys.trials.trial import TrialOutcome

VERSION = 4
OF = "of"
"""In the folder of a refit: result, folds and settings of the run that says what to expect of it."""
UNTUNED = "untuned"
"""Name of a study's base configuration, which runs along with its trials."""

T = TypeVar("T")


def _summary(value: Any, info: ValidationInfo) -> Any:
    """A task's own part; which type it is, the field `task` before it says."""
    if not isinstance(value, Mapping):
        return value
    task = TASKS[info.data["task"]]
    return parse_as(task.summary_type, value, "summary")


TaskSummary = Annotated[Any, PlainValidator(_summary)]


@dataclass(frozen=True)
class RunIds:
    """Where it is in MLflow."""

    experiment_id: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """What the results of all commands hold."""

    kind: str
    task: str
    corpus: str
    seconds: Scores
    audit: tuple[Finding, ...]
    mlflow: RunIds
    version: int = VERSION

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics of the task."""
        return TASKS[self.task].metrics


@dataclass(frozen=True, kw_only=True)
class TrialResult(CommandResult):
    """One configuration on all its folds, its test predictions opened; of the kind cross_validation or trial."""

    model: str
    select: str
    """The validation score that is shown, and chose epochs where they were chosen."""
    seeds: tuple[int, ...]
    folds: tuple[FoldScores, ...]
    """Seed by seed."""
    mean: dict[str, Scores]
    """Part (val, test, baseline) -> mean over folds and seeds."""
    std: dict[str, Scores]
    """Part -> standard deviation over folds of the mean over seeds."""
    seed_std: dict[str, Scores]
    """Part (val, test) -> standard deviation over seeds of the mean over folds."""
    ensemble: PartScores | None
    """Test scores of each fold's outputs averaged over its seeds; None with one seed."""
    summary: TaskSummary
    """What the task reports besides scores."""
    keep: Keep = "best"
    """Which epoch is kept: the best one by `select`, or the last."""
    baselines: tuple[BaselineResult, ...] = ()
    """The one that `mean` has first."""
    files: dict[str, str] = field(default_factory=dict)
    """The report's other files -> their SHA-256."""
    groups: tuple[GroupScores, ...] = ()
    """Scores by group, one entry for each column."""
    cost: Cost | None = None


@dataclass(frozen=True)
class VariantResult:
    """One line of an ablation."""

    name: str
    row: str
    """The variant's own name, which several columns share."""
    column: str
    """Empty where there are none."""
    settings: dict[str, Any]
    published: Scores
    mean: dict[str, Scores]
    """As of a `TrialResult`: val, test."""
    std: dict[str, Scores]
    seed_std: dict[str, Scores]
    difference: dict[str, Difference] | None
    """Difference from the first line, or from the same line in the first column; None for those themselves."""
    details: Scores
    """The task's further scores, such as F1 by emotion."""
    keep: Keep = "best"
    """As of a `TrialResult`."""
    cost: Cost | None = None
    on_test: OnTest | None = None
    """As of a `BaselineResult`."""
    figures: dict[str, float] = field(default_factory=dict)
    """Further figures of the task, such as calibration and the distance from annotators' votes."""
    tested_alike: Scores = field(default_factory=dict)
    """Test scores, mean over seeds, of the fold that tests what the published figures tested; empty without one."""
    interval: dict[str, Difference] = field(default_factory=dict)
    """Test scores with their 95 % interval, as of differences (from 0)."""
    baseline: Scores = field(default_factory=dict)
    """Test scores of the baseline on the same input and train parts, mean over folds."""


@dataclass(frozen=True)
class Recommendation:
    """The simplest variant that is about as good on validation as the best one."""

    name: str
    """The variant of fewest parameters among those within one standard error of the best."""
    best: str
    """The variant of highest mean validation score."""
    metric: str
    difference: Difference | None
    """The former - the latter, on val; None where they are one."""


@dataclass(frozen=True, kw_only=True)
class AblationResult(CommandResult):
    """Several configurations on the same folds."""

    metric: str
    source: str
    selected_on: Literal["test", "val", "unknown"]
    seeds: int
    n_folds: int
    variants: tuple[VariantResult, ...]
    failed: tuple[str, ...]
    """A line a trial that failed."""
    baseline: Spread
    kind: str = "ablation"
    baseline_difference: dict[str, Difference] = field(default_factory=dict)
    """Baseline - first variant, on the same folds."""
    recommended: Recommendation | None = None
    """None where no difference can be distinguished from noise."""
    published_test: str = ""
    """What the published figures tested, such as session 5; empty where they are means over folds."""


@dataclass(frozen=True)
class TrialRecord:
    """A trial of a study, as its own file and the study's result hold it."""

    name: str
    number: int
    round: int
    """Round of the study, counted from 1."""
    values: dict[str, Any]
    """Setting -> value."""
    params: dict[str, Any]
    """Optuna's parameters, of which the values are made."""
    state: Literal["RUNNING", "COMPLETE", "PRUNED", "FAILED", "STOPPED"] = "RUNNING"
    curve: tuple[Point, ...] = ()
    """Mean over folds and seeds, epoch by epoch, without the last epoch of a trial that has all its folds."""
    scores: Scores = field(default_factory=dict)
    """Mean over folds and seeds of the kept epochs' validation scores; of a stopped trial, so far."""
    epochs: int = 0
    """Sum over folds and seeds."""
    most_epochs: int = 0
    """What `epochs` could have been at most."""
    reason: str = ""
    """Why it failed."""

    @property
    def has_ended(self) -> bool:
        """Whether a resumed study leaves it as it is."""
        return self.state in ("COMPLETE", "PRUNED", "FAILED")

    def begun(self) -> "TrialRecord":
        """The record as it was before the trial ended: a resumed study does it again."""
        return replace(self, state="RUNNING", curve=(), scores={}, epochs=0, reason="")

    def after(self, outcome: TrialOutcome) -> "TrialRecord":
        """The record when the trial has ended."""
        kept = ("state", "curve", "epochs", "reason")
        told = {name: getattr(outcome, name) for name in kept}
        return replace(self, scores=dict(outcome.scores), **told)


@dataclass(frozen=True, kw_only=True)
class StudyResult(CommandResult):
    """A search: chosen on validation, opened on test once, with the untuned one and what its folds would choose."""

    model: str
    objectives: tuple[str, ...]
    chosen: Choice
    test: PartScores
    """The chosen configuration's."""
    by_fold: PartScores
    """Test scores by fold of the trial that is best on that fold's val; the trials were steered by all folds."""
    untuned: PartScores
    by_fold_choice: tuple[str, ...]
    difference: dict[str, Difference]
    """Chosen - untuned, fold by fold."""
    confirmed: Confirmation | None
    """The study's claim; None where the untuned configuration was chosen, or `search.confirm_seeds` is 0."""
    pareto: tuple[dict[str, Any], ...]
    summary: TaskSummary
    """The task's summary of the chosen configuration."""
    untuned_values: dict[str, Any]
    baseline: Spread
    rounds: tuple[RoundResult, ...]
    trials: tuple[TrialRecord, ...]
    epochs: Effort
    kind: str = "study"
    files: dict[str, str] = field(default_factory=dict)
    """As of a `TrialResult`; of the chosen configuration."""
    nested: NestedResult | None = None
    """Estimate of the nested search, with `search.nested`."""
    untuned_val: Scores = field(default_factory=dict)
    """Validation scores of the untuned configuration."""
    over_baseline: dict[str, Difference] = field(default_factory=dict)
    """Chosen - baseline, fold by fold."""
    groups: tuple[GroupScores, ...] = ()
    """As of a `TrialResult`; of the chosen configuration."""
    cost: Cost | None = None
    """The same."""


@dataclass(frozen=True, kw_only=True)
class RefitResult(CommandResult):
    """A configuration trained on all utterances: a model to be used, which was never tested itself."""

    model: str
    source: str
    """The run whose folds say what to expect of it; its result is in the folder `of`."""
    utterances: int
    """Utterances that it was trained on."""
    epochs: int
    """Epochs of every training; where they were not given, the median of the epochs that the folds kept."""
    seeds: tuple[int, ...]
    expected: PartScores
    """Test scores of the source's folds."""
    cost: Cost | None = None
    kind: str = "refit"


Result = TrialResult | AblationResult | StudyResult | RefitResult
_KINDS: Mapping[str, type[Result]] = {
    "cross_validation": TrialResult,
    "trial": TrialResult,
    "ablation": AblationResult,
    "study": StudyResult,
    "refit": RefitResult,
}


def plain(result: Any) -> Any:
    """Nested plain types of a result, as JSON holds them but for NaN."""
    if is_dataclass(result):
        return {item.name: plain(getattr(result, item.name)) for item in fields(result)}
    if isinstance(result, Mapping):
        return {key: plain(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [plain(value) for value in result]
    return result.item() if isinstance(result, np.generic) else result


def write_result(folder: Folder, result: Result) -> None:
    """Write result.json."""
    write_sealed(folder, "result.json", plain(result))


def read_result(folder: Folder) -> Result:
    """What result.json holds.

    Raises:
        StorageError: missing, or of another version.
        DamagedError: it is not what was written.
    """
    where = folder.path("result.json")
    version = _version(folder)
    if version not in (VERSION, None):
        raise StorageError(
            f"{where} is of version {version}, not {VERSION}: read it with the raysys that wrote it"
        )
    content = read_sealed(folder, "result.json")
    return parse_as(_KINDS[content["kind"]], _renamed(content), where)


def _renamed(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """A study's result, from before what its folds would choose was distinguished from a nested search."""
    if "nested_choice" not in content:
        return content
    found = dict(content)
    before = {"by_fold": found.pop("nested"), "by_fold_choice": found.pop("nested_choice")}
    return {**found, **before}


def _version(folder: Folder) -> Any:
    """Version of result.json, also of one that was written before results had seals; None where it is damaged."""
    try:
        content = folder.read_json("result.json")
    except StorageError:
        return None
    return content.get("version") if isinstance(content, dict) else None


def parse_as(kind: type[T], content: Any, where: str) -> T:
    """JSON content as one of these types.

    Raises:
        StorageError: it is something else.
    """
    try:
        return TypeAdapter(kind).validate_python(content)
    except (ValidationError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StorageError(f"{where} is damaged: {reason}") from error
