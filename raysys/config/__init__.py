"""Every setting of raysys: frozen, typed, checked, documented field by field.

A preset (YAML) holds what differs from the defaults; a dotted flag (`--training.batch_size 32`) overrides the
preset. `raysys.commandline` reads both into a `Config`; `python -m jobs.cross_validate --help` prints these pages.
Names of corpora, encoders and models are looked up in their registries, which live above this package.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from raysys.config.data import (
    CorpusConfig,
    DemoConfig,
    FeaturesConfig,
    FoldsConfig,
    HashedConfig,
    IemocapConfig,
    LogmelConfig,
    PrecomputedConfig,
    TransformersConfig,
)
from raysys.config.learning import (
    BalanceConfig,
    CltnetConfig,
    LossConfig,
    ModelConfig,
    MultiemoConfig,
    SimilarityConfig,
    TrainingConfig,
)
from raysys.config.rule import require
from raysys.config.running import (
    AblationConfig,
    ClusterConfig,
    Distribution,
    Objective,
    SearchConfig,
    StorageConfig,
    TrackingConfig,
    Variant,
)

__all__ = [
    "AblationConfig",
    "BalanceConfig",
    "CltnetConfig",
    "ClusterConfig",
    "Config",
    "CorpusConfig",
    "DemoConfig",
    "Distribution",
    "FeaturesConfig",
    "FoldsConfig",
    "HashedConfig",
    "IemocapConfig",
    "LogmelConfig",
    "LossConfig",
    "ModelConfig",
    "MultiemoConfig",
    "Objective",
    "PrecomputedConfig",
    "SearchConfig",
    "SimilarityConfig",
    "StorageConfig",
    "TrackingConfig",
    "TrainingConfig",
    "TransformersConfig",
    "Variant",
    "differences",
    "digest",
    "field_names",
    "replaced",
    "to_dict",
]


@dataclass(frozen=True)
class Config:
    """Everything that one command runs on."""

    name: str = ""
    """Name of the run folder. Empty: the preset's file name."""
    seed: int = 0
    """Seed of folds, weights, batches, proposals and bootstrap: same seed, same machine, same numbers."""
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
        require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 2**32 - 1")
        pairs = self.loss.mu2 == 0 or len(self.model.modalities) > 1
        rule = "0 with a single modality, since Soft-HGR compares modalities"
        require(pairs, "loss.mu2", self.loss.mu2, rule)


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain types of a config class, as YAML and JSON hold them (tuples become lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def differences(config: Any, default: Any) -> dict[str, Any]:
    """What a preset must hold to turn `default` into `config`: nested plain types, equal settings left out."""

    def changed(value: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, new in value.items():
            if key not in usual:
                kept[key] = new
            elif isinstance(new, dict) and new != usual[key]:
                kept[key] = changed(new, usual[key])
            elif new != usual[key]:
                kept[key] = new
        return kept

    return changed(to_dict(config), to_dict(default))


def replaced(config: Any, values: dict[str, Any]) -> Any:
    """A copy with other values, given by their dotted names.

    Raises:
        ConfigError: a value out of range, alone or beside the others.
    """
    nested: dict[str, dict[str, Any]] = {}
    own: dict[str, Any] = {}
    for name, value in values.items():
        group, _, rest = name.partition(".")
        if rest:
            nested.setdefault(group, {})[rest] = value
        else:
            own[group] = value
    inner = {group: replaced(getattr(config, group), rest) for group, rest in nested.items()}
    return dataclasses.replace(config, **own, **inner)


def digest(*parts: object) -> str:
    """64 hex digits over JSON-able parts: equal parts, equal digest, in any process."""
    text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def field_names(config_class: type, prefix: str = "") -> dict[str, type | None]:
    """Dotted name of every setting; groups are listed too, with their class as value."""
    names: dict[str, type | None] = {}
    for item in dataclasses.fields(config_class):
        group = item.default_factory if dataclasses.is_dataclass(item.default_factory) else None
        names[prefix + item.name] = group if isinstance(group, type) else None
        if isinstance(group, type):
            names |= field_names(group, f"{prefix}{item.name}.")
    return names
