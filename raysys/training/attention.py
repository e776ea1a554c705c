"""Where a trained model looks: the attention between its modalities, from its weights. Torch only."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from raysys.batches.batch import Part
from raysys.models.tuned import Tuned
from raysys.training.bundle import Bundle

Pair = tuple[str, str]
"""(querying modality, queried modality)."""
Maps = Mapping[Pair, Float[np.ndarray, "query place"]]
"""How much of each queried place every querying place takes: rows sum to 1."""


def attention_maps(bundle: Bundle, part: Part) -> list[Maps]:
    """Mean over heads and layers of the attention between modalities, utterance by utterance in the part's order.

    Args:
        bundle: of a model that attends between modalities (`ModelSettings.attends`).
        part: utterances.
    """
    bundle.model.eval()
    outer = bundle.model
    inner: Any = outer.model if isinstance(outer, Tuned) else outer
    pairs: Mapping[Pair, Sequence[nn.MultiheadAttention]] = inner.attentions()
    dialogues = bundle.config.model.chosen.reads_dialogues
    found: dict[int, Maps] = {}
    with torch.inference_mode():
        for batch in part.batches(1, dialogues=dialogues):
            seen: dict[Pair, list[Tensor]] = {pair: [] for pair in pairs}
            hooks = [
                layer.register_forward_hook(_keep(seen[pair]), with_kwargs=True)
                for pair, layers in pairs.items()
                for layer in layers
            ]
            try:
                bundle.model(batch.modalities, batch.layout)
            finally:
                for hook in hooks:
                    hook.remove()
            found[int(batch.rows[0])] = {
                pair: torch.stack(weights).mean(dim=0)[0].cpu().numpy()
                for pair, weights in seen.items()
            }
    return [found[row] for row in sorted(found)]


def _keep(seen: list[Tensor]) -> Any:
    """A hook that adds the weights of each call, which is computed once more for it."""

    def hook(
        layer: nn.MultiheadAttention, given: tuple[Any, ...], named: dict[str, Any], output: Any
    ) -> None:
        _, weights = layer.forward(*given, **{**named, "need_weights": True})
        assert weights is not None
        seen.append(weights)

    return hook
