"""SpeechText: an LSTM on speech, two on words, joined by dense layers.

    audio [frame, d_A] -> LSTM, last state -> linear -> [hidden]
    text [token, d_T] -> LSTM, LSTM, last state -> linear -> [hidden]
    concat -> ReLU(linear) = embedding [hidden] -> linear -> logits

Atmaja, Shirai & Akagi 2019, "Speech Emotion Recognition Using Speech Feature and Word Embedding", APSIPA ASC, 519-523.
The paper takes 34 acoustic features of 100 frames without silences, two unidirectional LSTM layers of 256 units for
text, and dense layers of 256. For speech its best are dense layers over the 100 frames, flattened; utterances of any
length need an LSTM, which it tried too: here one layer, as wide as the text's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from raysys.batches.padded import Layout, Padded
from raysys.models.layers import last_step
from raysys.models.output import ModelOutput, ModelSettings, check_sizes

_LSTM_LAYERS = {"audio": 1, "text": 2}


@dataclass(frozen=True)
class SpeechtextConfig(ModelSettings):
    """Sizes of SpeechText; the defaults are the authors'."""

    reads_dialogues: ClassVar = False
    reads: ClassVar = ("audio", "text")
    hidden: int = 256
    """Units of the LSTMs and width of the dense layers."""
    dropout: float = 0.2
    """Share of values dropped in training."""

    def __post_init__(self) -> None:
        check_sizes("speechtext", self, counts=("hidden",))

    def build(
        self, modalities: Sequence[str], *, dims: Mapping[str, int], n_outputs: int
    ) -> "Speechtext":
        """The untrained network; see `ModelSettings`."""
        return Speechtext(self, modalities, dims=dims, n_outputs=n_outputs)


class Speechtext(nn.Module):
    """The whole network; a branch a modality that is given."""

    def __init__(
        self,
        sizes: SpeechtextConfig,
        modalities: Sequence[str],
        *,
        dims: Mapping[str, int],
        n_outputs: int,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(
            {m: _Branch(dims[m], sizes, layers=_LSTM_LAYERS[m]) for m in modalities}
        )
        self.dropout = nn.Dropout(sizes.dropout)
        self.fuse = nn.Linear(sizes.hidden * len(modalities), sizes.hidden)
        self.classify = nn.Linear(sizes.hidden, n_outputs)

    def forward(self, modalities: Mapping[str, Padded], layout: Layout | None) -> ModelOutput:
        """Logits, embedding and modality vectors of a batch; each utterance by itself, whatever the layout."""
        vectors = {
            m: branch(modalities[m].values, modalities[m].mask)
            for m, branch in self.branches.items()
        }
        joined = self.dropout(torch.cat(list(vectors.values()), dim=1))
        embedding = torch.relu(self.fuse(joined))
        return ModelOutput(self.classify(self.dropout(embedding)), embedding, vectors)


class _Branch(nn.Module):
    """LSTM layers, and a linear layer of their last state."""

    def __init__(self, input_dim: int, sizes: SpeechtextConfig, *, layers: int) -> None:
        super().__init__()
        between = sizes.dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(input_dim, sizes.hidden, layers, batch_first=True, dropout=between)
        self.linear = nn.Linear(sizes.hidden, sizes.hidden)

    def forward(
        self, values: Float[Tensor, "batch time dim"], mask: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch hidden"]:
        """A vector an utterance."""
        states, _ = self.lstm(values)
        vector: Tensor = self.linear(last_step(states, mask))
        return vector
