"""Every setting of raysys, put together: frozen, typed, checked, documented field by field.

A preset (YAML) holds what differs from the defaults; a dotted flag (`--training.batch_size 32`) overrides the
preset. `raysys.commandline` reads both into a `Config`; `python -m jobs.cross_validate --help` prints these pages.
Settings of corpora, encoders, models and losses are in the modules that read them; those of commands are in this room.
"""

import math
from dataclasses import asdict, dataclass, field

from raysys.balance.counts import BalanceConfig
from raysys.config.running import (
    AblationConfig,
    ClusterConfig,
    SearchConfig,
    StorageConfig,
    TrackingConfig,
)
from raysys.config.training import TrainingConfig
from raysys.corpus import CorpusConfig
from raysys.corpus.folds import FoldsConfig
from raysys.encoders import FeaturesConfig
from raysys.errors import ConfigError, lookup, nearest
from raysys.losses import LossConfig
from raysys.models import ModelConfig, model_names
from raysys.settings import as_set, flat, require, value_of
from raysys.similarity.matrix import SimilarityConfig
from raysys.tasks import TASKS
from raysys.tasks.task import Metric, Task

_MOST = 1_000_000
"""Upper limit of every setting that is a count."""


@dataclass(frozen=True)
class Config:
    """Everything that one command runs on."""

    name: str = ""
    """Name of the run folder. Empty: the preset's file name."""
    seed: int = 0
    """Seed of weights, batches, mixtures, proposals and bootstrap: same seed, same machine, same numbers."""
    task: str = "classification"
    """What is predicted: classification (an emotion), regression (the numbers that corpus.targets names),
    label_mapping (ratings in one format from those in another) or emotion_embedding (ratings in any format, through the
    emotion space of a label mapping)."""
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    """Data."""
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    """Encoders."""
    folds: FoldsConfig = field(default_factory=FoldsConfig)
    """Cross-validation."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Model."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Objective."""
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    """Utterances added to the train part."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Training of one fold."""
    similarity: SimilarityConfig = field(default_factory=SimilarityConfig)
    """Class-similarity matrix."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """Study; only jobs.tune reads it."""
    ablation: AblationConfig = field(default_factory=AblationConfig)
    """Comparison; only jobs.ablate reads it."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """Ray."""
    storage: StorageConfig = field(default_factory=StorageConfig)
    """Files."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """MLflow."""

    def __post_init__(self) -> None:
        rule = "a plain folder name"
        require("/" not in self.name and self.name not in (".", ".."), "name", self.name, rule)
        require(0 <= self.seed < 2**31, "seed", self.seed, "0 to 2**31 - 1")
        self._check_numbers()
        pairs = self.loss.mu2 == 0 or len(self.model.modalities) > 1
        rule = "0 with a single modality, since Soft-HGR compares modalities"
        require(pairs, "loss.mu2", self.loss.mu2, rule)
        self._check_task()
        self._check_attention()
        self._check_together()

    def _check_numbers(self) -> None:
        """No setting is infinite, or so large that nobody can have meant it."""
        for name, value in flat(asdict(self)).items():
            if name.startswith("search.space"):  # which says it better
                continue
            if isinstance(value, float):
                require(math.isfinite(value), name, value, "a finite number")
            elif isinstance(value, int) and not name.endswith("seed"):
                require(abs(value) <= _MOST, name, value, f"at most {_MOST}")

    @property
    def task_type(self) -> type[Task]:
        """The class of the task."""
        return TASKS[self.task]

    @property
    def selects(self) -> Metric:
        """The validation score that chooses a fold's epoch, where one is chosen, and is shown."""
        return self._metric(self.training.select or self.task_type.chooses, "training.select")

    @property
    def chooser(self) -> Metric | None:
        """The validation score that chooses a fold's epoch; None where the last one is kept."""
        return self.selects if self.training.keep == "best" else None

    @property
    def epochs(self) -> int:
        """Most epochs of a training."""
        return 1 if self._fits_at_once else self.training.max_epochs

    @property
    def _fits_at_once(self) -> bool:
        kind = model_names().get(self.model.name)
        return kind is not None and kind.fits_at_once

    @property
    def objectives(self) -> tuple[Metric, ...]:
        """The validation scores that a study optimises; the first one chooses."""
        names = self.search.objectives or (self.task_type.chooses or self.task_type.main,)
        return tuple(self._metric(name, "search.objectives") for name in names)

    @property
    def compared(self) -> Metric:
        """The score that an ablation compares."""
        return self._metric(self.ablation.metric, "ablation.metric")

    def _metric(self, name: str, setting: str) -> Metric:
        known = {metric.name: metric for metric in self.task_type.metrics}
        name = name or self.task_type.main
        if name not in known:
            raise ConfigError(
                f"{setting} is '{name}', but the task {self.task} is scored otherwise: {nearest(name, known)}"
            )
        return known[name]

    def _check_layers(self) -> None:
        """A model that weighs layers is given as many as it expects."""
        if self.model.name not in model_names():
            return
        for modality in self.model.modalities:
            encoder = getattr(self.features, self.features.encoder_of(modality), None)
            if encoder is not None:
                layers = len(getattr(encoder, "layers", (-1,)))
                side_by_side = (
                    getattr(encoder, "layer_pooling", "concat") == "concat"
                    and getattr(encoder, "output", "layers") == "layers"
                )
                self.model.chosen.check_layers(modality, layers if side_by_side else 1)

    def _check_fitted(self) -> None:
        """What a model that is fitted at once cannot take part in."""
        if not self._fits_at_once:
            return
        name = self.model.name
        require(self.task == "classification", "task", self.task, f"classification for {name}")
        rule = f"off with {name}, whose utterances have one emotion each"
        require(self.balance.method == "off", "balance.method", self.balance.method, rule)
        for modality in self.model.modalities:
            encoder = self.features.encoder_of(modality)
            tuned = getattr(getattr(self.features, encoder, None), "finetune_layers", 0)
            rule = f"0 with {name}, which has no gradients"
            require(not tuned, f"features.{encoder}.finetune_layers", tuned, rule)

    def _check_labels(self) -> None:
        """Formats that a label mapping leaves out."""
        left_out, tables = self.loss.left_out, self.corpus.ratings.tables
        for name in left_out:
            lookup(tables, name, kind="label format in loss.left_out")
        rule = "so few that two label formats are left to learn from"
        some = not left_out or len(tables) - len(left_out) >= 2
        require(some, "loss.left_out", left_out, rule)
        rule = "loss where loss.left_out leaves formats out, whose other scores mean nothing"
        select = self.training.select
        require(not left_out or select == "loss", "training.select", select, rule)
        rule = "empty where loss.space says what is there already"
        require(not (left_out and self.loss.space), "loss.left_out", left_out, rule)

    def _check_attention(self) -> None:
        if not self.tracking.attention or self.model.name not in model_names():
            return
        given = self.tracking.attention
        rule = "0 unless the task is classification, whose predictions are right or wrong"
        require(self.task == "classification", "tracking.attention", given, rule)
        modalities = self.model.modalities
        able = [n for n in model_names() if getattr(self.model, n).attends(("audio", "text"))]
        rule = (
            f"0 with {self.model.title}, which has no attention between modalities (with two of them have: "
            f"{', '.join(able)})"
        )
        attends = self.model.chosen.attends(modalities)
        require(attends, "tracking.attention", given, rule)

    def _check_together(self) -> None:
        """Folds that a process trains together are on one GPU, and have something to do together."""
        folds, share = self.training.together, self.cluster.gpus
        if folds == 1 or self.model.name not in model_names():
            return
        reason = self.model.chosen.why_apart(self.model.modalities)
        if reason:
            raise ConfigError(
                f"training.together is {folds}, but {self.model.name} gains nothing by it: {reason}: set it to 1"
            )
        told = math.floor(1000 / folds) / 1000
        rule = f"{told:g} or less, or auto, with training.together {folds}: they are on one GPU"
        rounded = max(1 / folds, round(1 / folds, 3))  # whoever says 0.167 means a sixth
        require(share <= rounded, "cluster.gpus_per_fold", share, rule)

    def _check_task(self) -> None:
        lookup(TASKS, self.task, kind="task")
        for name, value in self.task_type.fixed.items():
            given = value_of(self, name)
            rule = f"{as_set(value)} with the task {self.task}, or another --task"
            require(given == value, name, given, rule)
        mapping = self.task_type.reads_formats
        able = [n for n, k in model_names().items() if k.reads_formats == mapping]
        rule = f"one for the task {self.task}: {', '.join(able)}"
        fits = getattr(model_names().get(self.model.name), "reads_formats", mapping) == mapping
        require(fits, "model.name", self.model.name, rule)
        self._check_fitted()
        self._check_layers()
        for name, what in self.task_type.needs.items():
            require(bool(value_of(self, name)), name, [], what)
        formats = tuple(self.corpus.ratings.tables)
        rule = f"the formats of corpus.ratings.tables, in their order: {list(formats)}"
        given = self.model.modalities
        same = given == formats or not self.task_type.reads_formats
        require(same, "model.modalities", given, rule)
        self._check_labels()
        assert self.selects
        assert self.objectives
        published = (one.reported(self.compared.name) for one in self.ablation.cells)
        for name, value in (pair for one in published for pair in one.items()):
            known = self._metric(name, "ablation.variants: published")
            if known.format == "percent" and not 1 < value <= 100:
                raise ConfigError(
                    f"ablation.variants: published is {value:g}, but must be in per cent: above 1, at most 100"
                )
