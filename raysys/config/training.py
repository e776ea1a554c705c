"""Settings of training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from raysys.gpu import Device
from raysys.settings import require

Keep = Literal["best", "last"]


@dataclass(frozen=True)
class TrainingConfig:
    """One fold's training; rates and limits are CLTNet's published ones."""

    idle: ClassVar[Mapping[str, Mapping[str, tuple[Any, ...]]]] = {
        "patience": {"keep": ("last",)},
        "share_of": {"share": (1.0,)},
        "plateau_factor": {"lr_schedule": ("constant", "cosine")},
        "plateau_patience": {"lr_schedule": ("constant", "cosine")},
    }
    seeds: int = 1
    """Trainings of every fold, with seed, seed + 1, ...: scores are their means, and the deviation over seeds says what
    chance does. The folds stay."""
    max_epochs: int = 30
    """Epochs after which training ends at the latest."""
    patience: int = 10
    """Stop after so many epochs without a better validation score; nothing where `keep` is last."""
    select: str = ""
    """Validation score that keeps the best epoch, one of the task's: ua, wa, weighted_f1, macro_f1, worst_recall; ccc,
    pearson, rmse; loss. Empty: the task's own (ua, ccc)."""
    keep: Keep = "best"
    """The epoch whose weights a fold keeps: best (by `select`), or last: no epoch is chosen, training never ends early,
    and val scores are not those of a lucky epoch. For rates that fall to 0 (lr_schedule cosine)."""
    refit: bool = False
    """Train each fold's model again, on its train and val parts, for as many epochs as were kept, before it is tested:
    more data, at twice the time. What chooses stays what was measured on val."""
    share: float = 1.0
    """Share of each train part that is trained on, for learning curves, as configs/ablations/demo_learning_curve.yaml
    draws; val and test stay whole."""
    share_of: Literal["utterances", "dialogues", "speakers"] = "utterances"
    """What a share is drawn in: utterances (within each class), whole dialogues, or speakers with all they say."""
    batch_size: int = 64
    """Utterances a step; dialogues, for a model that reads dialogues."""
    learning_rate: float = 0.001
    """Adam's step size, at its highest."""
    encoder_learning_rate: float = 0.00002
    """Adam's step size, at its highest, for layers of encoders that are trained (features.*.finetune_layers)."""
    gradient_checkpointing: bool = False
    """Compute the states of an encoder's trained layers again in the backward pass instead of keeping them."""
    encoder_precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: an encoder's trained layers compute in mixed precision; weights, and all else, stay float32."""
    lr_schedule: Literal["constant", "cosine", "plateau"] = "constant"
    """constant; cosine: both rates fall to 0 over max_epochs; plateau: both are multiplied by plateau_factor whenever
    the validation loss has not fallen for more than plateau_patience epochs (torch's ReduceLROnPlateau)."""
    plateau_factor: float = 0.95
    """plateau: what rates are multiplied by; that of the MultiEMO authors' script."""
    plateau_patience: int = 10
    """plateau: epochs without a lower validation loss that are waited for."""
    weight_decay: float = 0.00001
    """lambda: L2 penalty on the weights, added to the gradient as weight_decay * weight (Adam's)."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient; 0 turns clipping off."""
    label_smoothing: float = 0.0
    """Share of each target that is spread evenly over the classes."""
    start_from: str = ""
    """Run whose weights training goes on from, by its name or folder: each fold from its own model there. Folds, model
    and encoders must be the same."""
    temperature: bool = False
    """Fit a temperature on each fold's val part that makes its probabilities mean what they say (Guo et al. 2017); what
    is most probable stays so."""
    mask_time: float = 0.0
    """SpecAugment on train batches: longest masked stretch of audio frames, as a share of the utterance."""
    mask_dims: float = 0.0
    """SpecAugment on train batches: widest masked stretch of audio columns, as a share of all."""
    resident_gb: float = 8.0
    """Frames of a modality and part up to so many GB (10^9 bytes) are copied into memory, the GPU's where there is one
    (all together no more than half of the memory that the fold has there); more are read from disk batch by batch."""
    together: int = 1
    """Folds (of any seeds and trials) that one process trains at the same time, with their loops of small products done
    as one: for GPUs with few CPU cores. Each ends by itself, and its numbers are those of a fold alone but for their
    last digits. For multiemo; other models say why not."""
    checkpoint_every: int = 1
    """Epochs between checkpoints; a fold that lost its worker resumes from the last one."""
    device: Device = "auto"
    """auto (CUDA when the fold was given one), cpu or cuda."""

    def __post_init__(self) -> None:
        require(1 <= self.seeds <= 100, "training.seeds", self.seeds, "1 to 100")
        require(1 <= self.together <= 64, "training.together", self.together, "1 to 64")
        for name in ("max_epochs", "patience", "batch_size", "checkpoint_every"):
            require(getattr(self, name) >= 1, f"training.{name}", getattr(self, name), ">= 1")
        for name in ("learning_rate", "encoder_learning_rate"):
            require(getattr(self, name) > 0, f"training.{name}", getattr(self, name), "above 0")
        for name in ("weight_decay", "gradient_clip", "resident_gb"):
            require(getattr(self, name) >= 0, f"training.{name}", getattr(self, name), "0 or more")
        require(0 < self.share <= 1, "training.share", self.share, "in (0, 1]")
        factor, wait = self.plateau_factor, self.plateau_patience
        require(0 < factor < 1, "training.plateau_factor", factor, "in (0, 1)")
        require(wait >= 0, "training.plateau_patience", wait, "0 or more")
        for name in ("label_smoothing", "mask_time", "mask_dims"):
            value = getattr(self, name)
            require(0 <= value < 1, f"training.{name}", value, "in [0, 1)")
