"""Losses and the objective, in torch only."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from raysys.losses.classification import (
    ClassificationLossConfig,
)
from raysys.losses.emotion_embedding import EmotionEmbeddingLossConfig
from raysys.losses.label_mapping import LabelMappingLossConfig
from raysys.losses.objective import Objective
from raysys.losses.regression import RegressionLossConfig
from raysys.losses.soft_hgr import SoftHgrConfig
from raysys.losses.swfc import SwfcConfig
from raysys.losses.term import Term
from raysys.settings import require


@dataclass(frozen=True)
class LossConfig(
    SwfcConfig,
    SoftHgrConfig,
    ClassificationLossConfig,
    RegressionLossConfig,
    LabelMappingLossConfig,
    EmotionEmbeddingLossConfig,
):
    """The objective: mu1 SWFC + mu2 Soft-HGR + (1 - mu1 - mu2) (main loss of the task).

    A new loss is one module and one base here: its settings are fields of this class.
    """

    def __post_init__(self) -> None:
        before, names = 0.0, list[str]()
        for kind in LossConfig.__bases__:
            kind.check(self)  # type: ignore[attr-defined]
            if name := getattr(kind, "weight", ""):
                value = getattr(self, name)
                require(0 <= value <= 1, f"loss.{name}", value, "in [0, 1]")
                rest = " - ".join(["1", *(f"loss.{one}" for one in names)])
                rule = f"at most {rest} = {1 - before:g}"
                require(before + value <= 1 + 1e-9, f"loss.{name}", value, rule)
                before += value
                names.append(name)


def make_objective(
    config: LossConfig,
    main: Term,
    class_counts: Float[Tensor, " class"],
    *,
    validation: Term | None = None,
) -> Objective:
    """A task's main loss, plus the terms whose weight is above 0.

    Args:
        config: weights and settings of the terms.
        main: L_main.
        class_counts: utterances of every class (or stratum) in the train part.
        validation: see `Objective`.
    """
    terms = []
    for kind in LossConfig.__bases__:
        weight = getattr(config, getattr(kind, "weight", ""), 0.0)
        if weight:
            terms.append((weight, kind.term(config, class_counts)))  # type: ignore[attr-defined]
    return Objective(main, terms, config.mode, validation)
