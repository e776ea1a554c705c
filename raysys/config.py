"""Every setting of raysys: frozen, typed, checked, documented field by field.

A preset (YAML) holds what differs from the defaults below; a dotted flag (`--training.batch_size 32`) overrides the
preset. `raysys.commandline` reads both into a `Config`; `python -m jobs.cross_validate --help` prints this page.
Names of corpora, encoders and models are looked up in their registries, which live above this module.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from raysys.errors import ConfigError


def _require(holds: bool, setting: str, value: object, rule: str) -> None:
    if not holds:
        raise ConfigError(f"{setting} is {value!r}, but must be {rule}: set --{setting}")


@dataclass(frozen=True)
class DemoConfig:
    """The generated corpus: its size and seed."""

    utterances: int = 600
    """Number of utterances to generate, over 5 sessions of 2 speakers."""
    seed: int = 7
    """Seed of the generator; another seed is another corpus with other speakers."""

    def __post_init__(self) -> None:
        _require(self.seed >= 0, "corpus.demo.seed", self.seed, "0 or more")
        _require(self.utterances >= 120, "corpus.demo.utterances", self.utterances, "120 or more")


@dataclass(frozen=True)
class CorpusConfig:
    """Which corpus to read, and from where."""

    name: str = "demo"
    """Reader: demo (generated, synthetic), emodb, or manifest (your own CSV or Parquet)."""
    root: str = ""
    """Folder of the corpus; audio paths are relative to it. The demo needs none."""
    manifest: str = ""
    """For `manifest`: the CSV or Parquet file, relative to root. Empty: manifest.csv or manifest.parquet."""
    emotions: tuple[str, ...] = ()
    """Emotions in the order of the classes. Empty: the reader's own order (manifest: sorted)."""
    skip_bad: bool = False
    """Move unusable utterances to a quarantine list in the report instead of stopping at the first."""
    demo: DemoConfig = field(default_factory=DemoConfig)
    """The generated corpus."""


@dataclass(frozen=True)
class LogmelConfig:
    """Log-mel frames of the waveform (torchaudio), with optional columns beside them."""

    sample_rate_hz: int = 16000
    """Rate in Hz to which audio is resampled; files below it are refused."""
    window_seconds: float = 0.04
    """Length of the analysis window in seconds."""
    hop_seconds: float = 0.02
    """Distance between frames in seconds."""
    n_mels: int = 64
    """Mel bands from 20 Hz to half the sample rate."""
    deltas: bool = False
    """Add the first time derivative of every band."""
    pitch: bool = False
    """Add log pitch (natural log of Hz), by normalised cross-correlation."""
    energy: bool = False
    """Add the log root-mean-square energy."""

    def __post_init__(self) -> None:
        rate = self.sample_rate_hz
        _require(rate >= 4000, "features.logmel.sample_rate_hz", rate, "4000 or more")
        hop = self.hop_seconds
        _require(0.001 <= hop <= 1, "features.logmel.hop_seconds", hop, "0.001 to 1")
        window = self.window_seconds
        rule = "from features.logmel.hop_seconds to 10"
        _require(hop <= window <= 10, "features.logmel.window_seconds", window, rule)
        _require(8 <= self.n_mels <= 256, "features.logmel.n_mels", self.n_mels, "8 to 256")


@dataclass(frozen=True)
class HashedConfig:
    """Deterministic vectors of hashed tokens: no learning, no download."""

    dim: int = 96
    """Width of a token's vector."""

    def __post_init__(self) -> None:
        _require(8 <= self.dim <= 4096, "features.hashed.dim", self.dim, "8 to 4096")


@dataclass(frozen=True)
class TransformersConfig:
    """Token states of a frozen BERT-type model, fp32."""

    model: str = "bert-base-uncased"
    """Local folder or hub name with config, tokenizer and safetensors weights."""
    revision: str = "main"
    """Hub revision; ignored for a local folder."""
    layer: int = -1
    """Hidden layer whose token states are used; -1 is the last."""
    max_tokens: int = 128
    """Longer texts are cut here."""
    batch_tokens: int = 4096
    """Most tokens (padding included) in one forward pass."""
    device: str = "auto"
    """auto (CUDA when there is one), cpu or cuda."""

    def __post_init__(self) -> None:
        _require(
            bool(self.model), "features.transformers.model", self.model, "a folder or hub name"
        )
        tokens = self.max_tokens
        _require(tokens >= 2, "features.transformers.max_tokens", tokens, "2 or more")
        batch = self.batch_tokens
        rule = "at least features.transformers.max_tokens"
        _require(batch >= tokens, "features.transformers.batch_tokens", batch, rule)


@dataclass(frozen=True)
class FeaturesConfig:
    """Which encoder turns each modality into frames or tokens, and how audio is normalised."""

    audio: str = "logmel"
    """Audio encoder: logmel."""
    text: str = "hashed"
    """Text encoder: hashed or transformers."""
    normalise: Literal["train", "speaker", "none"] = "train"
    """Mean and variance of audio columns: train (from the fold's train part), speaker (each speaker's own frames,
    unlabelled, also those of test speakers: named in the report) or none."""
    logmel: LogmelConfig = field(default_factory=LogmelConfig)
    """Settings of the logmel encoder."""
    hashed: HashedConfig = field(default_factory=HashedConfig)
    """Settings of the hashed encoder."""
    transformers: TransformersConfig = field(default_factory=TransformersConfig)
    """Settings of the transformers encoder."""


@dataclass(frozen=True)
class FoldsConfig:
    """How utterances are divided into train, val and test."""

    method: Literal["stratified_group", "leave_one_group_out"] = "stratified_group"
    """stratified_group (scikit-learn's StratifiedGroupKFold) or leave_one_group_out (a fold a group)."""
    groups: Literal["speaker", "session", "dialogue"] = "speaker"
    """What may never be in two parts of a fold."""
    n_splits: int = 5
    """Number of folds for stratified_group."""
    val_fraction: float = 0.2
    """Share of the non-test utterances, in whole groups, that choose epoch and configuration."""

    def __post_init__(self) -> None:
        _require(self.n_splits >= 2, "folds.n_splits", self.n_splits, "2 or more")
        _require(
            0 < self.val_fraction <= 0.5, "folds.val_fraction", self.val_fraction, "in (0, 0.5]"
        )


@dataclass(frozen=True)
class CltnetConfig:
    """Sizes of CLTNet; the defaults are the published ones (Liang et al. 2023, section 3.2)."""

    channels: int = 300
    """d_1: channels of each convolution and units of the LSTM."""
    text_dim: int = 100
    """d_2: width of the transformer encoder."""
    dim: int = 100
    """d: width of the modality vectors and of the embedding."""
    layers: int = 5
    """Transformer layers."""
    heads: int = 5
    """Attention heads a layer; must divide text_dim."""
    dropout: float = 0.1
    """Share of values dropped in training; the paper names none."""

    def __post_init__(self) -> None:
        for name in ("channels", "text_dim", "dim", "layers", "heads"):
            _require(getattr(self, name) >= 1, f"model.cltnet.{name}", getattr(self, name), ">= 1")
        rule = f"a divisor of model.cltnet.text_dim ({self.text_dim})"
        _require(self.text_dim % self.heads == 0, "model.cltnet.heads", self.heads, rule)
        _require(0 <= self.dropout < 1, "model.cltnet.dropout", self.dropout, "in [0, 1)")


@dataclass(frozen=True)
class ModelConfig:
    """Which model, on which modalities."""

    name: str = "cltnet"
    """Model: cltnet."""
    modalities: tuple[Literal["audio", "text"], ...] = ("audio", "text")
    """Input streams that the model sees."""
    cltnet: CltnetConfig = field(default_factory=CltnetConfig)
    """Sizes of CLTNet."""

    def __post_init__(self) -> None:
        distinct = len(self.modalities) == len(set(self.modalities)) > 0
        _require(distinct, "model.modalities", list(self.modalities), "one or more, each once")


@dataclass(frozen=True)
class LossConfig:
    """The objective: KL to the targets, plus the emotion-aware term."""

    targets: Literal["label", "votes"] = "label"
    """label (one-hot) or votes (share of the annotators; utterances without votes fall back to the label)."""
    omega: float = 0.0
    """Weight of the emotion-aware term; 0 leaves plain KL."""
    similarity: str = "preset"
    """Similarity matrix S of the emotion-aware term: preset (hand-written), the path of a .json or .npy file, or
    mlflow:RUN_ID for the averaged matrix of an earlier run."""
    class_weights: bool = False
    """Weigh utterances by the inverse frequency of their class in the train part."""

    def __post_init__(self) -> None:
        _require(self.omega >= 0, "loss.omega", self.omega, "0 or more")
        _require(bool(self.similarity), "loss.similarity", "", "preset, a file or mlflow:RUN_ID")


@dataclass(frozen=True)
class TrainingConfig:
    """One fold's training; rates and limits are CLTNet's published ones."""

    max_epochs: int = 30
    """Most epochs."""
    patience: int = 10
    """Stop after so many epochs without a better validation score."""
    select: Literal["ua", "wa", "weighted_f1", "loss"] = "ua"
    """Validation score that keeps the best epoch: ua, wa, weighted_f1 (higher is better) or loss (lower)."""
    batch_size: int = 64
    """Utterances a step."""
    learning_rate: float = 0.001
    """Adam's step size, at its highest."""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """constant, or cosine: falls from learning_rate to 0 over max_epochs."""
    weight_decay: float = 0.00001
    """L2 penalty on the weights."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient; 0 turns clipping off."""
    label_smoothing: float = 0.0
    """Share of each target that is spread evenly over the classes."""
    mask_time: float = 0.0
    """SpecAugment on train batches: longest masked stretch of audio frames, as a share of the utterance."""
    mask_dims: float = 0.0
    """SpecAugment on train batches: widest masked stretch of audio columns, as a share of all."""
    checkpoint_every: int = 1
    """Epochs between checkpoints; a fold that lost its worker resumes from the last one."""
    device: str = "auto"
    """auto (CUDA when the fold was given one), cpu or cuda."""

    def __post_init__(self) -> None:
        for name in ("max_epochs", "patience", "batch_size", "checkpoint_every"):
            _require(getattr(self, name) >= 1, f"training.{name}", getattr(self, name), ">= 1")
        _require(self.learning_rate > 0, "training.learning_rate", self.learning_rate, "above 0")
        for name in ("weight_decay", "gradient_clip"):
            _require(getattr(self, name) >= 0, f"training.{name}", getattr(self, name), "0 or more")
        for name in ("label_smoothing", "mask_time", "mask_dims"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"training.{name}", value, "in [0, 1)")


@dataclass(frozen=True)
class SimilarityConfig:
    """Uncertainty of the averaged class-similarity matrix."""

    resamples: int = 1000
    """Bootstrap resamples of the utterances within each fold."""
    confidence: float = 0.95
    """Coverage of the interval of each cell."""

    def __post_init__(self) -> None:
        _require(self.resamples >= 10, "similarity.resamples", self.resamples, "10 or more")
        rule = "between 0 and 1"
        _require(0 < self.confidence < 1, "similarity.confidence", self.confidence, rule)


@dataclass(frozen=True)
class ClusterConfig:
    """The Ray cluster and what a fold takes of it."""

    address: str = ""
    """Ray address. Empty: RAY_ADDRESS (set inside a Ray job), else a local Ray that ends with the command."""
    workers: int = 0
    """Folds trained at the same time; 0 is as many as the cluster has room for."""
    cpus_per_fold: float = 1.0
    """CPU cores of a worker; torch uses as many threads."""
    gpus_per_fold: float = 0.0
    """GPUs of a worker; a fraction shares one."""
    max_attempts: int = 3
    """Workers that may die on a fold before it is given up."""
    hello_seconds: float = 180.0
    """Longest wait in seconds for the first worker."""

    def __post_init__(self) -> None:
        _require(self.workers >= 0, "cluster.workers", self.workers, "0 or more")
        _require(self.cpus_per_fold > 0, "cluster.cpus_per_fold", self.cpus_per_fold, "above 0")
        _require(self.gpus_per_fold >= 0, "cluster.gpus_per_fold", self.gpus_per_fold, "0 or more")
        _require(self.max_attempts >= 1, "cluster.max_attempts", self.max_attempts, "1 or more")
        _require(self.hello_seconds > 0, "cluster.hello_seconds", self.hello_seconds, "above 0")


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

    def __post_init__(self) -> None:
        wait = self.patience_seconds
        _require(wait >= 0, "tracking.patience_seconds", wait, "0 or more")


@dataclass(frozen=True)
class Config:
    """Everything that one command runs on."""

    name: str = ""
    """Name of the run folder. Empty: the preset's file name."""
    seed: int = 0
    """Seed of folds, weights, batches and bootstrap: same seed, same machine, same numbers."""
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
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Training of one fold."""
    similarity: SimilarityConfig = field(default_factory=SimilarityConfig)
    """Class-similarity matrix."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """Ray."""
    storage: StorageConfig = field(default_factory=StorageConfig)
    """Files."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """MLflow."""

    def __post_init__(self) -> None:
        rule = "a plain folder name"
        _require("/" not in self.name and self.name not in (".", ".."), "name", self.name, rule)
        _require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 2**32 - 1")


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain types of a config class, as YAML and JSON hold them (tuples become lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


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
