"""Settings of where and how much: search, cluster, files, MLflow."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from raysys.errors import ConfigError, nearest
from raysys.settings import require


@dataclass(frozen=True)
class Distribution:
    """What a searched setting may be: a range (low, high), or choices. Optuna's words."""

    low: float | None = None
    """Smallest value."""
    high: float | None = None
    """Largest value."""
    log: bool = False
    """Propose by the logarithm; low must be above 0."""
    step: float | None = None
    """Distance between values of a range; none is continuous (1 for whole numbers)."""
    choices: tuple[str | bool | int | float | tuple[str, ...], ...] = ()
    """The values themselves, instead of a range."""


@dataclass(frozen=True)
class SearchConfig:
    """A study: which settings to search, and how long."""

    space: Mapping[str, Distribution] = field(default_factory=dict)
    """Dotted name of a setting -> {low, high[, log][, step]} or {choices: [...]}."""
    num_trials: int = 20
    """Configurations to try in each round, besides the untuned one."""
    seconds: float = 0.0
    """After so many seconds no trial is started and running ones are stopped; 0 is no limit."""
    concurrency: int = 0
    """Trials in flight; 0 is as many as keep the workers busy. 1 makes a study reproducible, see jobs/README.md."""
    objectives: tuple[str, ...] = ()
    """Validation scores of the task to optimise, each in its better direction, mean over folds. The first chooses.
    Empty: the task's own (ua, ccc)."""
    scheduler: Literal["asha", "race", "none"] = "asha"
    """asha prunes trials that fall behind at the same epoch, by the first objective; race trains a trial's folds one
    after the other and prunes it when it is behind the best on the same folds; none lets all finish."""
    grace_epochs: int = 5
    """asha, race: no trial is stopped before so many epochs."""
    reduction_factor: int = 3
    """asha: a trial goes on from a rung when it is among the best 1 / reduction_factor there; rungs are at
    grace_epochs times its powers, also those of race."""
    race_p: float = 0.05
    """race: one-sided significance level of each interim test."""
    confirm_seeds: int = 3
    """Fresh seeds with which the chosen and the untuned configuration are trained again when the search is over: their
    difference is the study's claim. 0 leaves it out."""
    nested: bool = False
    """Also estimate what searching like this gives on data that took no part in it: for every fold a study of its own
    on inner folds of its train and val parts, whose choice is trained and tested on the fold. Its cost is printed
    first."""
    inner_folds: int = 3
    """Inner folds in each fold of a nested search; groups are never divided between them."""
    rounds: int = 1
    """Searches in a row; each takes the best trial's averaged similarity matrix as the next one's S."""

    def __post_init__(self) -> None:
        for name in ("num_trials", "grace_epochs", "rounds"):
            require(getattr(self, name) >= 1, f"search.{name}", getattr(self, name), "1 or more")
        require(2 <= self.inner_folds <= 100, "search.inner_folds", self.inner_folds, "2 to 100")
        for name in ("seconds", "concurrency", "confirm_seeds"):
            require(getattr(self, name) >= 0, f"search.{name}", getattr(self, name), "0 or more")
        require(0 < self.race_p < 0.5, "search.race_p", self.race_p, "between 0 and 0.5")
        factor = self.reduction_factor
        require(factor >= 2, "search.reduction_factor", factor, "2 or more")
        distinct = len(self.objectives) == len(set(self.objectives))
        require(distinct, "search.objectives", self.objectives, "different scores")


@dataclass(frozen=True)
class Variant:
    """One line of an ablation: what differs from the command's own settings."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted name of a setting of model, loss (but similarity), balance or training -> its value."""
    published: float | Mapping[str, Any] | None = None
    """What a paper reports for it, as tables show it (per cent, where it is a share): ablation.metric, or
    {metric: value}; with columns, {column: one of the two}."""

    def __post_init__(self) -> None:
        if not isinstance(self.settings, Mapping):
            raise ConfigError("ablation.variants: 'settings:' must be followed by {setting: value}")


@dataclass(frozen=True)
class Cell:
    """One configuration of an ablation: a variant, in one of the columns where there are some."""

    variant: str
    column: str
    """Empty where there are none."""
    settings: Mapping[str, Any]
    published: Any

    @property
    def name(self) -> str:
        """Name of the trial."""
        return f"{self.variant}, {self.column}" if self.column else self.variant

    def reported(self, metric: str) -> dict[str, float]:
        """Metric -> published value.

        Args:
            metric: of a value that stands alone.
        """
        if self.published is None:
            return {}
        return (
            dict(self.published)
            if isinstance(self.published, Mapping)
            else {metric: self.published}
        )


@dataclass(frozen=True)
class AblationConfig:
    """Configurations to compare on the same folds; only jobs.ablate reads it."""

    variants: Mapping[str, Variant] = field(default_factory=dict)
    """Name -> {settings: {dotted name: value}[, published: per cent]}. The others are compared with the first."""
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name -> {dotted name: value}: every variant runs in every column, and is compared with itself in the first."""
    curve: str = ""
    """A setting that every variant gives a number: their scores are drawn over it; over training.share the baseline's
    too."""
    metric: str = ""
    """Score of the task that is compared. Empty: the task's own (ua, ccc)."""
    source: str = ""
    """Where the published figures come from, printed below them."""
    published_on: str = ""
    """corpus.name of the published figures, which are left out on any other. Empty: any."""
    published_test: str = ""
    """Group of folds.groups that the published figures tested, such as session 5 of IEMOCAP: our scores of the fold
    that tests it stand next to the means over all folds. Empty: published figures are means too."""
    selected_on: Literal["test", "val", "unknown"] = "unknown"
    """Part whose score chose the published figures' epochs or settings; shown above them."""

    def __post_init__(self) -> None:
        published = any(one.published is not None for one in self.variants.values())
        rule = "where the published figures come from"
        require(bool(self.source) or not published, "ablation.source", self.source, rule)
        for name, settings in self.columns.items():
            if not isinstance(settings, Mapping):
                raise ConfigError(
                    f"ablation.columns: {name} must be followed by {{setting: value}}"
                )
        for name, one in self.variants.items():
            given = one.published if isinstance(one.published, Mapping) else {}
            for unknown in [key for key in given if self.columns and key not in self.columns]:
                remedy = nearest(str(unknown), self.columns)
                raise ConfigError(
                    f"ablation.variants: {name}: published is for '{unknown}', which is no column: {remedy}"
                )

    def has_published(self, corpus: str) -> bool:
        """Whether the published figures are of this corpus, so that they may be shown next to ours."""
        return self.published_on in ("", corpus)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every configuration, variant by variant."""
        found = []
        for name, one in self.variants.items():
            given = one.published if isinstance(one.published, Mapping) else {}
            for column, settings in self.columns.items():
                merged = {**one.settings, **settings}
                found.append(Cell(name, column, merged, given.get(column)))
            if not self.columns:
                found.append(Cell(name, "", one.settings, one.published))
        return tuple(found)


@dataclass(frozen=True)
class ClusterConfig:
    """The Ray cluster and what a fold takes of it."""

    address: str = ""
    """Ray address. Empty: RAY_ADDRESS (set inside a Ray job), else a local Ray that ends with the command."""
    workers: int = 0
    """Worker processes, each with one fold at a time (training.together: more); 0 is as many as the cluster has room
    for."""
    max_workers: int = 0
    """An autoscaler is asked for nodes for so many workers, where there are folds for them; 0 asks for none."""
    placement: Literal["spread", "pack"] = "spread"
    """Workers go to the emptiest node, or to the fullest that has room."""
    cpus_per_fold: float = 1.0
    """CPU cores of a worker, also of one with several folds (training.together); torch uses as many threads, on which
    the eighth digit of numbers depends. It does not depend on how many workers there are, what else runs on the
    machine, or the run's name."""
    gpus_per_fold: float | Literal["auto"] = 0.0
    """GPU of a fold: 0 none, 1 one, a fraction a share of one and of its memory. auto measures what a fold takes and
    puts as many on each GPU as fit; 0 where there is none. A fold uses one GPU."""
    max_attempts: int = 3
    """Workers that may die on a fold before it is given up."""
    hello_seconds: float = 900.0
    """Fail if no worker has been available for this many seconds. Raise it if your autoscaler needs longer to add a
    node."""

    def __post_init__(self) -> None:
        require(self.workers >= 0, "cluster.workers", self.workers, "0 or more")
        require(self.max_workers >= 0, "cluster.max_workers", self.max_workers, "0 or more")
        cpus, gpus = self.cpus_per_fold, self.gpus
        require(0 < cpus <= 1024, "cluster.cpus_per_fold", cpus, "above 0, at most 1024")
        rule = "0, 1 or a fraction between, since a fold uses one GPU, or auto"
        require(0 <= gpus <= 1, "cluster.gpus_per_fold", gpus, rule)
        require(self.max_attempts >= 1, "cluster.max_attempts", self.max_attempts, "1 or more")
        require(self.hello_seconds > 0, "cluster.hello_seconds", self.hello_seconds, "above 0")

    @property
    def gpus(self) -> float:
        """GPU of a fold as a number; with auto 0, until `raysys.running.gpu_share` has measured it."""
        return 0.0 if self.gpus_per_fold == "auto" else self.gpus_per_fold

    def for_worker(self, folds: int) -> "ClusterConfig":
        """What a worker that trains several folds at a time takes: a GPU's shares of all, the CPU cores of one.

        Args:
            folds: at a time.
        """
        return self if folds == 1 else replace(self, gpus_per_fold=min(1.0, self.gpus * folds))


@dataclass(frozen=True)
class StorageConfig:
    """Where files go. A relative path is relative to RAYSYS_HOME, else to the current folder."""

    runs: str = "runs"
    """Folder or URI (s3://...) of the run folders; must be reachable from every node."""
    cache: str = "cache"
    """Folder or URI of feature stores and of the generated corpus."""


@dataclass(frozen=True)
class TrackingConfig:
    """MLflow."""

    uri: str = ""
    """Tracking URI. Empty: MLFLOW_TRACKING_URI, else an SQLite file in storage.runs."""
    experiment: str = ""
    """Experiment name. Empty: the corpus name."""
    patience_seconds: float = 600.0
    """How long the end of a run waits for a tracking server that does not answer."""
    attention: int = 0
    """Test utterances of each emotion, right and wrong, whose attention between text and audio is drawn, the most
    certain ones; 0 draws none. For models that attend between modalities."""
    groups: tuple[str, ...] = ()
    """Columns of the corpus by whose values test scores are shown, such as gender. Empty: all its metadata of 2 to 12
    values, and numbers in four bands."""

    def __post_init__(self) -> None:
        require(self.attention >= 0, "tracking.attention", self.attention, "0 or more")
        wait = self.patience_seconds
        require(wait >= 0, "tracking.patience_seconds", wait, "0 or more")
