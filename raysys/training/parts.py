"""What folds share, and the parts of one fold: copied out of the corpus, normalised by its train part."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64

from raysys import gpu
from raysys.batches.batch import Part, Turns, fit_normaliser, make_part
from raysys.batches.normalise import Normaliser
from raysys.config import Config
from raysys.corpus.folds import Fold
from raysys.encoders.encoder import FRAMED
from raysys.encoders.ragged import Copies, Ragged
from raysys.encoders.top_layers import TopRecipe
from raysys.tasks.task import Task

_PARTS = 3
"""Train, val and test of a fold, which may be on a GPU at the same time."""


@dataclass(frozen=True)
class FoldData:
    """What all folds share, read-only, one copy a node."""

    task: Task
    features: Mapping[str, Ragged]
    encoders: Mapping[str, Any]
    """Modality -> fingerprint of its encoder."""
    targets: Any
    """What is to be predicted, as the task keeps it."""
    folds: tuple[Fold, ...]
    places: Int64[np.ndarray, "utterance 3"] | None = None
    """Dialogue, turn and speaker of every utterance, as numbers; None makes each a dialogue of its own."""
    tops: Mapping[str, TopRecipe] = field(default_factory=dict)
    """Modality -> the layers of its encoder that are trained, where there are such."""
    copies: tuple[Ragged, ...] = ()
    """Audio of changed copies of the utterances that are trained on, each as long as the corpus."""

    def tops_of(self, config: Config) -> dict[str, TopRecipe]:
        """Modality that a config's model reads -> the layers of its encoder that are trained, where there are such."""
        return {str(m): self.tops[m] for m in config.model.modalities if m in self.tops}


@dataclass(frozen=True)
class Parts:
    """What copies the parts of a fold out of the corpus, normalised by its train part."""

    config: Config
    data: FoldData
    device: str
    normalisers: Mapping[str, Normaliser]
    labels: Int64[np.ndarray, " utterance"]
    targets: Float[np.ndarray, "utterance output"]

    @classmethod
    def of(cls, config: Config, data: FoldData, fold: Fold, device: str) -> "Parts":
        """The parts of one fold.

        Args:
            config: modalities, normalisation and targets.
            data: of all folds.
            fold: whose train part normalises.
            device: on which parts are.
        """
        framed = [m for m in FRAMED if m in config.model.modalities and m not in data.tops]
        fits = config.features.normalise == "train"
        fitted = {m: fit_normaliser(data.features[m], fold.train) for m in framed if fits}
        targets, labels = data.task.teach(data.targets, config.loss)
        return cls(config, data, device, fitted, labels, targets)

    def train(self, fold: Fold) -> Part:
        """What is trained on: the train part, then its changed copies."""
        count = len(self.labels)
        steps = [fold.train + k * count for k in range(len(self.data.copies) + 1)]
        return self(np.concatenate(steps))

    def __call__(self, indices: Int64[np.ndarray, " row"], on: str = "") -> Part:
        """Some utterances, on the fold's device or another one."""
        places = self.data.places
        return make_part(
            {str(name): self._features(name) for name in self.config.model.modalities},
            indices,
            labels=self.labels,
            targets=self.targets,
            normalisers=self.normalisers,
            device=on or self.device,
            turns=None if places is None else Turns(*torch.tensor(places).unbind(dim=1)),
            resident_gb=self._resident_gb(on or self.device),
        )

    def _resident_gb(self, device: str) -> float:
        """Frames of a modality and part that may be copied: on a GPU no more than half of the memory that is ours."""
        asked = self.config.training.resident_gb
        if device != "cuda":
            return asked
        share = self.config.cluster.gpus or 1.0
        room = gpu.memory_share(share, gpu.memory_gb()) * gpu.memory_gb()
        return min(asked, room / 2 / (_PARTS * len(self.config.model.modalities)))

    def _features(self, modality: str) -> Ragged | Copies:
        own, copies = self.data.features[modality], self.data.copies
        if not copies:
            return own
        return Copies((own, *(copies if modality == "audio" else [own] * len(copies))))


def balanced(train: Part, config: Config, data: FoldData, fold: Fold) -> Part:
    """The train part with the utterances that `balance` adds."""
    plan = data.task.balance(data.targets, config.balance, fold, seed=config.seed)
    if plan is None or not len(plan):
        return train
    device = train.labels.device
    major, minor, share = (
        torch.from_numpy(column).to(device) for column in (plan.major, plan.minor, plan.share)
    )
    return train.with_mixtures(major, minor, share.float())
