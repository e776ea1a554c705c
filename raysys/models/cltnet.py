"""CLTNet: convolutions and an LSTM on audio, a transformer on text, fused by concatenation.

    audio [time, d_A] -> 3 x ConvBlock, LSTMBlock -> concat [4 d_1] -> linear -> h_A [d]
    text [token, d_T] -> transformer [token, d_2] -> attention pooling -> linear -> h_T [d]
    concat -> linear -> h; h + relu(linear(h)) = embedding [d] -> linear -> logits [class]

Liang et al. 2023, "Gaussian-smoothed imbalance data improves speech emotion recognition", arXiv:2302.08650, Eq. 4-6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from raysys.batches.padded import Layout, Padded
from raysys.models.layers import masked_max
from raysys.models.output import ModelOutput, ModelSettings, check_sizes

_KERNELS = (3, 4, 5)


@dataclass(frozen=True)
class CltnetConfig(ModelSettings):
    """Sizes of CLTNet; the defaults are the published ones (Liang et al. 2023, section 3.2)."""

    reads_dialogues: ClassVar = False
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
        counts = ("channels", "text_dim", "dim", "layers", "heads")
        check_sizes("cltnet", self, counts=counts, width="text_dim")

    def build(
        self, modalities: Sequence[str], *, dims: Mapping[str, int], n_outputs: int
    ) -> "Cltnet":
        """The untrained network; see `ModelSettings`."""
        return Cltnet(self, modalities, dims=dims, n_outputs=n_outputs)


class AudioBranch(nn.Module):
    """h_A of Eq. 4.

        h_A = Concat(conv_3, conv_4, conv_5, lstm) W_A + b_A
        conv_k = MaxPool(ReLU(Conv1D_k(x_A))),   lstm = MaxPool(LSTM(x_A))

    d_1 is `channels`, d is `dim`. Convolutions see only whole windows of real frames; an utterance shorter than the
    kernel has one window, filled up with zeros. Pooling is over real frames.
    """

    def __init__(self, input_dim: int, config: CltnetConfig) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(input_dim, config.channels, kernel) for kernel in _KERNELS
        )
        self.lstm = nn.LSTM(input_dim, config.channels, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.linear = nn.Linear(config.channels * (len(_KERNELS) + 1), config.dim)

    def forward(
        self, values: Float[Tensor, "batch time dim"], mask: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch out"]:
        """Audio vector of each utterance."""
        lengths = mask.sum(dim=1)
        channels_first = nn.functional.pad(values.transpose(1, 2), (0, max(_KERNELS) - 1))
        pooled = []
        for kernel, convolution in zip(_KERNELS, self.convolutions, strict=True):
            windows = torch.relu(convolution(channels_first)).transpose(1, 2)
            count = (lengths - kernel + 1).clamp(min=1)
            whole = torch.arange(windows.shape[1], device=mask.device) < count[:, None]
            pooled.append(masked_max(windows, whole))
        states, _ = self.lstm(values)
        pooled.append(masked_max(states, mask))
        joined: Tensor = self.linear(self.dropout(torch.cat(pooled, dim=1)))
        return joined


class TextBranch(nn.Module):
    """h_T of Eq. 5.

        z_T = TransformerEncoder(x_T),   a = softmax(z_T W_z + b_z),   h_T = (a^T z_T) W_T + b_T

    d_2 is `text_dim`, d is `dim`. The paper gives d_T = 768 and 5 heads, which do not divide: tokens are first
    projected linearly to d_2. The paper names no position encoding; none is added, since BERT's states already
    carry it. The feed-forward width is 4 d_2.
    """

    def __init__(self, input_dim: int, config: CltnetConfig) -> None:
        super().__init__()
        self.project = nn.Linear(input_dim, config.text_dim)
        layer = nn.TransformerEncoderLayer(
            config.text_dim,
            config.heads,
            dim_feedforward=4 * config.text_dim,
            dropout=config.dropout,
            batch_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.attention = nn.Linear(config.text_dim, 1)
        self.linear = nn.Linear(config.text_dim, config.dim)

    def forward(
        self, values: Float[Tensor, "batch time dim"], mask: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch out"]:
        """Text vector of each utterance."""
        states = self.encoder(self.project(values), src_key_padding_mask=~mask)
        scores = self.attention(states).squeeze(-1).masked_fill(~mask, -torch.inf)
        weights = scores.softmax(dim=1)
        vector: Tensor = self.linear(torch.einsum("bt,btd->bd", weights, states))
        return vector


class Cltnet(nn.Module):
    """The whole network; a branch a modality that is given. Video, which the paper has not, is read as audio is.

    h = Concat(h_A, h_T) W_u + b_u,   logits = (h + ReLU(h W_h + b_h)) W_c + b_c
    """

    def __init__(
        self,
        sizes: CltnetConfig,
        modalities: Sequence[str],
        *,
        dims: Mapping[str, int],
        n_outputs: int,
    ) -> None:
        super().__init__()
        branches = {
            "audio": AudioBranch,
            "text": TextBranch,
            "video": AudioBranch,
            "image": AudioBranch,
        }
        self.branches = nn.ModuleDict({m: branches[m](dims[m], sizes) for m in modalities})
        self.fuse = nn.Linear(sizes.dim * len(modalities), sizes.dim)
        self.residual = nn.Linear(sizes.dim, sizes.dim)
        self.dropout = nn.Dropout(sizes.dropout)
        self.classify = nn.Linear(sizes.dim, n_outputs)

    def forward(self, modalities: Mapping[str, Padded], layout: Layout | None) -> ModelOutput:
        """Logits, embedding and modality vectors of a batch; each utterance by itself, whatever the layout."""
        vectors = {
            modality: branch(modalities[modality].values, modalities[modality].mask)
            for modality, branch in self.branches.items()
        }
        fused = self.fuse(self.dropout(torch.cat(list(vectors.values()), dim=1)))
        embedding = fused + torch.relu(self.residual(fused))
        return ModelOutput(self.classify(embedding), embedding, vectors)
