"""Settings of what goes in: the corpus, its features, its folds."""

from dataclasses import dataclass, field
from typing import Literal

from raysys.config.rule import require


@dataclass(frozen=True)
class DemoConfig:
    """The generated corpus: its size and seed."""

    utterances: int = 600
    """Number of utterances to generate, over 5 sessions of 2 speakers."""
    seed: int = 7
    """Seed of the generator; another seed is another corpus with other speakers."""

    def __post_init__(self) -> None:
        require(self.seed >= 0, "corpus.demo.seed", self.seed, "0 or more")
        require(self.utterances >= 120, "corpus.demo.utterances", self.utterances, "120 or more")


@dataclass(frozen=True)
class IemocapConfig:
    """Which part of IEMOCAP."""

    classes: Literal["six", "four"] = "six"
    """six (anger, excitement, frustration, happiness, neutral, sadness) or four (excitement counts as happiness,
    frustration is left out)."""
    improvised: bool = False
    """Improvised dialogues only: the scripted ones repeat their lines in every session."""


@dataclass(frozen=True)
class CorpusConfig:
    """Which corpus to read, and from where."""

    name: str = "demo"
    """Reader: demo (generated, synthetic), emodb, iemocap, meld, or manifest (your own CSV or Parquet)."""
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
    iemocap: IemocapConfig = field(default_factory=IemocapConfig)
    """Part of IEMOCAP."""


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
        require(rate >= 4000, "features.logmel.sample_rate_hz", rate, "4000 or more")
        hop = self.hop_seconds
        require(0.001 <= hop <= 1, "features.logmel.hop_seconds", hop, "0.001 to 1")
        window = self.window_seconds
        rule = "from features.logmel.hop_seconds to 10"
        require(hop <= window <= 10, "features.logmel.window_seconds", window, rule)
        require(8 <= self.n_mels <= 256, "features.logmel.n_mels", self.n_mels, "8 to 256")


@dataclass(frozen=True)
class HashedConfig:
    """Deterministic vectors of hashed tokens: no learning, no download."""

    dim: int = 96
    """Width of a token's vector."""

    def __post_init__(self) -> None:
        require(8 <= self.dim <= 4096, "features.hashed.dim", self.dim, "8 to 4096")


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
        require(bool(self.model), "features.transformers.model", self.model, "a folder or hub name")
        tokens = self.max_tokens
        require(tokens >= 2, "features.transformers.max_tokens", tokens, "2 or more")
        batch = self.batch_tokens
        rule = "at least features.transformers.max_tokens"
        require(batch >= tokens, "features.transformers.batch_tokens", batch, rule)


@dataclass(frozen=True)
class PrecomputedConfig:
    """Features that were computed elsewhere: .npz files with an array [time, dim] or [dim] an utterance_id.

    They are stored as float16: bring columns to a common scale of about 1 first.
    """

    audio: str = ""
    """File of audio features."""
    text: str = ""
    """File of text features."""
    video: str = ""
    """File of video features. Empty: the manifest's column `video` names a .npy file a row."""


@dataclass(frozen=True)
class FeaturesConfig:
    """Which encoder turns each modality into frames or tokens, and how frames are normalised."""

    audio: str = "logmel"
    """Audio encoder: logmel or precomputed."""
    text: str = "hashed"
    """Text encoder: hashed, transformers or precomputed."""
    video: str = "precomputed"
    """Video encoder: precomputed; finding faces in films is left to other tools."""
    normalise: Literal["train", "speaker", "none"] = "train"
    """Mean and variance of audio and video columns: train (from the fold's train part), speaker (each speaker's own
    frames, unlabelled, also those of test speakers: named in the report) or none."""
    logmel: LogmelConfig = field(default_factory=LogmelConfig)
    """Settings of the logmel encoder."""
    hashed: HashedConfig = field(default_factory=HashedConfig)
    """Settings of the hashed encoder."""
    transformers: TransformersConfig = field(default_factory=TransformersConfig)
    """Settings of the transformers encoder."""
    precomputed: PrecomputedConfig = field(default_factory=PrecomputedConfig)
    """Files of the precomputed encoder."""

    def __post_init__(self) -> None:
        for modality in ("audio", "text"):
            file, encoder = getattr(self.precomputed, modality), getattr(self, modality)
            rule = (
                f"set where features.{modality} is precomputed and nowhere else (it is {encoder})"
            )
            given = bool(file) == (encoder == "precomputed")
            require(given, f"features.precomputed.{modality}", file, rule)

    def comes_from_file(self, modality: str) -> bool:
        """Whether a modality is read from a file of features instead of the corpus."""
        chosen = getattr(self, modality) == "precomputed"
        return chosen and bool(getattr(self.precomputed, modality))


@dataclass(frozen=True)
class FoldsConfig:
    """How utterances are divided into train, val and test."""

    method: Literal["stratified_group", "leave_one_group_out", "official"] = "stratified_group"
    """stratified_group (scikit-learn's StratifiedGroupKFold), leave_one_group_out (a fold a group), or official (one
    fold: the corpus' own train, val and test)."""
    groups: Literal["speaker", "session", "dialogue"] = "speaker"
    """What may never be in two parts of a fold."""
    n_splits: int = 5
    """Number of folds for stratified_group."""
    val_fraction: float = 0.2
    """Share of the non-test utterances, in whole groups, that choose epoch and configuration."""

    def __post_init__(self) -> None:
        require(self.n_splits >= 2, "folds.n_splits", self.n_splits, "2 or more")
        require(
            0 < self.val_fraction <= 0.5, "folds.val_fraction", self.val_fraction, "in (0, 0.5]"
        )
