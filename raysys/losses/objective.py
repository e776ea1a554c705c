"""The objective that training minimises: a task's main loss and auxiliary terms, weighted to 1."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from raysys.batches.batch import Batch
from raysys.losses.term import Mode, Term
from raysys.models.output import ModelOutput


@dataclass(frozen=True)
class Objective:
    """Maps a model's output and a batch to a scalar.

        L = sum_k mu_k L_k + (1 - sum_k mu_k) L_main

    With mu1 L_SWFC + mu2 L_Soft-HGR and L_main = L_KL + omega L_emotion-aware it is Shi & Huang 2023 (MultiEMO, ACL
    2023), Eq. 22, whose 1/N makes L_main a mean over the batch; the lambda term is the optimiser's weight decay. In
    `paper` mode terms are divided by N here, as Eq. 22 has it; the authors' code has that factor inside.
    """

    main: Term
    """L_main, of the task."""
    terms: Sequence[tuple[float, Term]] = ()
    """(mu_k, L_k), those above 0."""
    mode: Mode = "official"
    validation: Term | None = None
    """What stands for L_main on the val part, where that is another loss."""

    def __call__(self, output: ModelOutput, batch: Batch) -> Float[Tensor, ""]:
        """The loss of one batch."""
        loss = self.main(output, batch)
        if not self.terms:
            return loss
        per_utterance = len(batch.labels) if self.mode == "paper" else 1
        rest = 1.0
        for weight, _ in self.terms:
            rest -= weight
        loss = rest * loss
        for weight, term in self.terms:
            loss = loss + weight * term(output, batch) / per_utterance
        return loss

    def validate(self, output: ModelOutput, batch: Batch) -> Float[Tensor, ""]:
        """L_main alone: comparable between trials, independent of how batches are made up."""
        return (self.validation or self.main)(output, batch)
