"""Settings of what is learnt, and how: model, objective, balancing, training, similarity matrix."""

from dataclasses import dataclass, field
from typing import Literal

from raysys.config.rule import require


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
            require(getattr(self, name) >= 1, f"model.cltnet.{name}", getattr(self, name), ">= 1")
        rule = f"a divisor of model.cltnet.text_dim ({self.text_dim})"
        require(self.text_dim % self.heads == 0, "model.cltnet.heads", self.heads, rule)
        require(0 <= self.dropout < 1, "model.cltnet.dropout", self.dropout, "in [0, 1)")


@dataclass(frozen=True)
class MultiemoConfig:
    """Sizes of MultiEMO; the defaults are those of the authors' script for IEMOCAP, but for dropout."""

    dim: int = 256
    """Width of the utterance vectors and of the attention."""
    state: int = 256
    """Width of DialogueRNN's global, party and emotion states."""
    context: tuple[Literal["audio", "text", "video"], ...] = ("audio", "text", "video")
    """Modalities that DialogueRNN reads, of those that the model has; [] for none."""
    bidirectional: bool = True
    """Read dialogues in both directions; otherwise an utterance's context is what came before it."""
    residual: bool = False
    """Add an utterance's own vector to its context vector and normalise the sum. Ours, not the paper's."""
    fusion: bool = True
    """Fuse modalities by cross-attention (MultiAttn); without it their vectors are only concatenated."""
    layers: int = 6
    """Layers of cross-attention."""
    heads: int = 4
    """Attention heads a layer, together as wide as dim, which they must divide."""
    feedforward: int = 1024
    """Width of the feed-forward layers."""
    hidden: int = 256
    """Width of l (Eq. 15), the embedding; the authors' code has twice dim for MELD."""
    dropout: float = 0.1
    """Share of values dropped in training; 0 in the authors' script."""

    def __post_init__(self) -> None:
        for name in ("dim", "state", "layers", "heads", "feedforward", "hidden"):
            require(getattr(self, name) >= 1, f"model.multiemo.{name}", getattr(self, name), ">= 1")
        rule = f"a divisor of model.multiemo.dim ({self.dim})"
        require(self.dim % self.heads == 0, "model.multiemo.heads", self.heads, rule)
        require(0 <= self.dropout < 1, "model.multiemo.dropout", self.dropout, "in [0, 1)")


@dataclass(frozen=True)
class ModelConfig:
    """Which model, on which modalities."""

    name: str = "cltnet"
    """Model: cltnet (each utterance by itself) or multiemo (whole dialogues)."""
    modalities: tuple[Literal["audio", "text", "video"], ...] = ("audio", "text")
    """Input streams that the model sees."""
    cltnet: CltnetConfig = field(default_factory=CltnetConfig)
    """Sizes of CLTNet."""
    multiemo: MultiemoConfig = field(default_factory=MultiemoConfig)
    """Sizes of MultiEMO."""

    def __post_init__(self) -> None:
        distinct = len(self.modalities) == len(set(self.modalities)) > 0
        require(distinct, "model.modalities", list(self.modalities), "one or more, each once")

    @property
    def title(self) -> str:
        """For people: name and modalities."""
        return f"{self.name} ({' + '.join(self.modalities)})"


@dataclass(frozen=True)
class LossConfig:
    """The objective: mu1 SWFC + mu2 Soft-HGR + (1 - mu1 - mu2) (KL + omega emotion-aware)."""

    targets: Literal["label", "votes"] = "label"
    """label (one-hot) or votes (share of the annotators; utterances without votes fall back to the label)."""
    mu1: float = 0.0
    """Weight of the sample-weighted focal contrastive loss (SWFC), on the embedding or on MultiEMO's z."""
    mu2: float = 0.0
    """Weight of the Soft-HGR loss on the modality vectors; mu1 + mu2 is at most 1."""
    tau: float = 0.8
    """SWFC: temperature of the similarities."""
    gamma: float = 2.0
    """SWFC: focusing exponent; 0 counts easy pairs as much as hard ones."""
    alpha: float = 0.8
    """SWFC: exponent of the class weights (total / count)^alpha; 0 weighs all emotions alike."""
    mode: Literal["official", "paper"] = "official"
    """SWFC and Soft-HGR as in the authors' code (official) or as in their equations (paper)."""
    omega: float = 0.0
    """Weight of the emotion-aware term beside KL; 0 leaves plain KL."""
    similarity: str = "preset"
    """Similarity matrix S of the emotion-aware term: preset (hand-written), the path of a .json or .npy file, or
    mlflow:RUN_ID for the averaged matrix of an earlier run."""
    class_weights: bool = False
    """Weigh utterances by the inverse frequency of their class in the train part."""

    def __post_init__(self) -> None:
        for name in ("mu1", "mu2"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"loss.{name}", value, "in [0, 1]")
        rest = f"at most 1 - loss.mu1 = {1 - self.mu1:g}"
        require(self.mu1 + self.mu2 <= 1 + 1e-9, "loss.mu2", self.mu2, rest)
        require(self.tau > 0, "loss.tau", self.tau, "above 0")
        for name in ("gamma", "alpha", "omega"):
            require(getattr(self, name) >= 0, f"loss.{name}", getattr(self, name), "0 or more")
        require(bool(self.similarity), "loss.similarity", "", "preset, a file or mlflow:RUN_ID")


@dataclass(frozen=True)
class BalanceConfig:
    """Utterances that mixup adds to the train part, and how many (Liang et al. 2023, arXiv:2302.08650)."""

    method: Literal["off", "smallest", "uniform", "pdds"] = "off"
    """off; smallest (clear utterances of the rarest emotion alone); uniform (every kind up to n); pdds (counts smoothed
    between the two emotions of every pair)."""
    sigma: float = 1.0
    """PDDS: width of the Gaussian kernel of Eq. 1, in steps of the clear-ambiguous-ambiguous-clear distribution."""
    pairs: Literal["all", "observed"] = "all"
    """PDDS: smooth every pair of emotions, as the paper does, or only pairs that annotators gave together."""
    p: float = 0.8
    """Mixup coefficient of Eq. 2-3: share of the major emotion's utterance in a mixed one."""
    n: int = 400
    """uniform: utterances of every kind (clear by emotion, ambiguous by major and minor emotion)."""

    def __post_init__(self) -> None:
        require(self.sigma > 0, "balance.sigma", self.sigma, "above 0")
        require(0 <= self.p <= 1, "balance.p", self.p, "in [0, 1]")
        require(1 <= self.n <= 100_000, "balance.n", self.n, "1 to 100000")


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
    """Utterances a step; dialogues, for a model that reads dialogues."""
    learning_rate: float = 0.001
    """Adam's step size, at its highest."""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """constant, or cosine: falls from learning_rate to 0 over max_epochs."""
    weight_decay: float = 0.00001
    """lambda: L2 penalty on the weights, added to the gradient as weight_decay * weight (Adam's)."""
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
            require(getattr(self, name) >= 1, f"training.{name}", getattr(self, name), ">= 1")
        require(self.learning_rate > 0, "training.learning_rate", self.learning_rate, "above 0")
        for name in ("weight_decay", "gradient_clip"):
            require(getattr(self, name) >= 0, f"training.{name}", getattr(self, name), "0 or more")
        for name in ("label_smoothing", "mask_time", "mask_dims"):
            value = getattr(self, name)
            require(0 <= value < 1, f"training.{name}", value, "in [0, 1)")


@dataclass(frozen=True)
class SimilarityConfig:
    """Uncertainty of the averaged class-similarity matrix."""

    resamples: int = 1000
    """Bootstrap resamples of the utterances within each fold."""
    confidence: float = 0.95
    """Coverage of the interval of each cell."""

    def __post_init__(self) -> None:
        require(self.resamples >= 10, "similarity.resamples", self.resamples, "10 or more")
        rule = "between 0 and 1"
        require(0 < self.confidence < 1, "similarity.confidence", self.confidence, rule)
