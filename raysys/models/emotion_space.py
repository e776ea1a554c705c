"""An emotion space that `jobs.map_labels` has learnt: its label encoders and decoders, frozen.

    bundle of a fold -> EmotionSpace:  ratings in a format -> embedding [dim] -> ratings in any other
    classes of a corpus -> VAD ratings of their names -> prototypes [class, dim]:  embedding -> the nearest one, by what
                           the VAD decoder says of both

Classes join the space by what people say of their names, so that it answers in label sets that it was not trained with.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from safetensors import SafetensorError
from torch import Tensor, nn

from raysys.corpus.formats import Format, Kind, named_like
from raysys.errors import ConfigError, StorageError, nearest
from raysys.models import ModelConfig
from raysys.models.stored import read_stored
from raysys.settings import from_dict, under
from raysys.similarity.psychology import VAD
from raysys.storage import Folder

_SCALE = (1.0, 9.0)
"""Scale of `VAD`: lowest and highest rating."""


@dataclass(frozen=True)
class EmotionSpace:
    """Encoders and decoders of label formats; nothing in it is trained any more."""

    formats: tuple[Format, ...]
    network: nn.Module
    """With `encoders` and `decoders` by format."""
    mean: Float[Tensor, " variable"]
    """What a decoder's zero stands for, variable by variable of all formats, in 0..1."""
    std: Float[Tensor, " variable"]
    """What its one adds."""
    digest: str
    """Digest of its files."""
    taught: tuple[str, ...] = ()
    """Formats that it was trained on."""

    @property
    def weight(self) -> Float[Tensor, "variable dim"]:
        """Weight vectors of all decoders, format by format."""
        decoders: Any = self.network.decoders
        return torch.cat([decoders[one.name].weight for one in self.formats]).detach()

    @property
    def dim(self) -> int:
        """Width of the space."""
        return int(self.weight.shape[1])

    def encode(
        self, name: str, ratings: Float[Tensor, "item variable"]
    ) -> Float[Tensor, "item dim"]:
        """Embeddings of ratings in 0..1.

        Args:
            name: of their format.
            ratings: in the order of its variables.

        Raises:
            ConfigError: the space has no such format.
        """
        encoders: Any = self.network.encoders
        if name not in encoders:
            raise ConfigError(
                f"the emotion space has no format '{name}': {nearest(name, encoders)}"
            )
        with torch.no_grad():
            embedding: Tensor = encoders[name](ratings)
        return embedding

    def map(self, source: str, ratings: ArrayLike | Tensor) -> dict[str, Tensor]:
        """Ratings in one format as ratings in every format, in 0..1 (of categorical ones a distribution).

        Args:
            source: name of their format.
            ratings: [item, variable], or [variable] of one item, in 0..1 (0 the scale's low end, 1 its high end), in
                the order of the format's variables: numbers in lists, an array or a tensor.

        Returns:
            Format -> [item, variable].

        Raises:
            ConfigError: the space has no such format, or the ratings are of another shape or outside 0..1.
        """
        answered = Answers(self.formats, self.formats, self.weight, self.mean, self.std)
        given = self._given(source, ratings)
        return dict(zip(answered.names, answered.read(self.encode(source, given)), strict=True))

    def _given(self, source: str, ratings: ArrayLike | Tensor) -> Float[Tensor, "item variable"]:
        """What a user gave, checked."""
        variables = {one.name: one.variables for one in self.formats}.get(source, ())
        try:
            found = torch.as_tensor(np.array(ratings, dtype=np.float32, ndmin=2))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"ratings must be numbers [item, variable]: {error}") from error
        # Of an unknown format, `encode` says which there are.
        if variables and found.shape[1:] != (len(variables),):
            raise ConfigError(
                f"ratings of {source} must be numbers [item, {len(variables)}], in the order {', '.join(variables)}, "
                f"not {list(found.shape)}"
            )
        if not ((found >= 0) & (found <= 1)).all():
            raise ConfigError(
                "ratings must be in 0..1, the scale's low end being 0: give (rating - low) / (high - low)"
            )
        return found

    def standardised(
        self, names: Sequence[str], embeddings: Float[Tensor, "item dim"]
    ) -> Float[Tensor, "item _"]:
        """What the decoders of some formats read, in standard deviations of the ratings that the space learnt from.

        Args:
            names: of the formats, whose variables stand side by side.
            embeddings: places in the space.
        """
        decoders: Any = self.network.decoders
        return torch.cat([embeddings @ decoders[name].weight.T for name in names], dim=1).detach()

    def prototypes(
        self,
        classes: Sequence[str],
        *,
        mean: Float[Tensor, "3"] | None = None,
        std: Float[Tensor, "3"] | None = None,
    ) -> Float[Tensor, "class dim"]:
        """Where emotions lie by the VAD ratings of their names.

        Args:
            classes: names of emotions.
            mean: of the VAD ratings, in 0..1, of a corpus whose raters used the scales otherwise (who reads sentences
                stays nearer to the middle than who reads words): places are moved and stretched to it.
            std: their standard deviation; given with `mean`.

        Raises:
            ConfigError: a name that nobody has rated, or a space without VAD.
        """
        for name in classes:
            if name not in VAD:
                raise ConfigError(
                    f"no VAD ratings are known of '{name}' ({nearest(name, VAD)}), so it has no place in the emotion "
                    "space: leave it out with --corpus.emotions and --corpus.skip_bad true"
                )
        vad = named_like("vad", self.formats)
        if vad is None:
            raise ConfigError(
                "the emotion space has no format vad, by which classes get their places: add a table of it"
            )
        low, high = _SCALE
        rated = (torch.tensor([VAD[name] for name in classes]) - low) / (high - low)
        if mean is not None and std is not None:
            names = [one.name for one in self.formats]
            begin = sum(len(one.variables) for one in self.formats[: names.index(vad)])
            own = slice(begin, begin + 3)
            rated = mean + std * (rated - self.mean[own]) / self.std[own]
        return self.encode(vad, rated)


@dataclass(frozen=True)
class Answers:
    """What an embedding says in several formats: those of a space, and classes that lie in it."""

    formats: tuple[Format, ...]
    """All of them: first the space's, then classes."""
    spaces: tuple[Format, ...]
    """Those of the space."""
    weight: Float[Tensor, "variable dim"]
    """Weights of the space's decoders."""
    mean: Float[Tensor, " variable"]
    """What their zero stands for, in 0..1."""
    std: Float[Tensor, " variable"]
    """What their one adds."""
    prototypes: Float[Tensor, "class dim"] | None = None
    """Prototypes of the classes of all other formats."""

    @property
    def names(self) -> list[str]:
        """Names of the formats."""
        return [one.name for one in self.formats]

    @property
    def sizes(self) -> list[int]:
        """Variables of each format."""
        return [len(one.variables) for one in self.formats]

    def logits(self, embeddings: Float[Tensor, "item dim"]) -> list[Float[Tensor, "item _"]]:
        """Logits of every format; numeric ones in 0..1.

        A decoder's are linear. A class' is the squared distance to its prototype with a minus sign, in what the VAD
        decoder says of both, since VAD ratings are all that is known of a class, in units of the mean distance of two
        prototypes of its format: the softmax is the posterior of equally likely, equally wide Gaussians.
        """
        linear = embeddings @ self.weight.T * self.std + self.mean
        count = len(self.spaces)
        found = list(linear.split(self.sizes[:count], dim=1))
        if self.prototypes is not None:
            place = [one.name for one in self.spaces].index(named_like("vad", self.spaces) or "vad")
            decoder = self.weight.split(self.sizes[:count])[place]
            here = embeddings @ decoder.T
            for prototypes in self.prototypes.split(self.sizes[count:]):
                points = prototypes @ decoder.T
                pairs = max(len(points) * (len(points) - 1), 1)
                unit = torch.cdist(points, points).square().sum() / pairs
                apart = (here[:, None] - points).square().sum(dim=2)
                found.append(-apart / unit)
        return found

    def read(self, embeddings: Float[Tensor, "item dim"]) -> list[Float[Tensor, "item _"]]:
        """Ratings in 0..1 of every format; of binary ones chances, of categorical ones a distribution."""
        pairs = zip(self.formats, self.logits(embeddings), strict=True)
        return [as_ratings(one.kind, logits) for one, logits in pairs]


def as_ratings(kind: Kind, logits: Float[Tensor, "item _"]) -> Float[Tensor, "item _"]:
    """Ratings in 0..1 of one format from its logits."""
    if kind == "numeric":
        return logits.clamp(0, 1)
    return logits.sigmoid() if kind == "binary" else logits.softmax(dim=1)


def load_space(place: Folder) -> EmotionSpace:
    """The emotion space of a fold of `jobs.map_labels`.

    Raises:
        StorageError: there is none, or it is damaged.
    """
    if not place.exists("bundle.json"):
        raise StorageError(
            f"{place.path()} holds no emotion space: give a fold of jobs.map_labels, such as runs/words/fold_0"
        )
    content, raw = read_stored(place)
    try:
        if "formats" not in content["task"]:
            raise StorageError(
                f"{place.path()} was trained for the task {content['task']['name']}: an emotion space is what "
                "python -m jobs.map_labels learns"
            )
        formats = tuple(from_dict(Format, one) for one in content["task"]["formats"])
        tensors = safetensors.torch.load(raw)
        model, dims = from_dict(ModelConfig, content["config"]["model"]), content["dims"]
        outputs = len(content["task"]["outputs"])
        network = model.chosen.build(model.modalities, dims=dims, n_outputs=outputs)
        network.load_state_dict(dict(under("model/", tensors)))
        loss = content["config"]["loss"]
        left_out = loss.get("left_out", loss.get("untaught", ()))  # its earlier name
        width = sum(len(one.variables) for one in formats)
        mean, std = (tensors[f"readout/{name}"][:width] for name in ("mean", "std"))
    except (SafetensorError, RuntimeError, KeyError, TypeError, ConfigError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StorageError(f"the emotion space in {place.path()} is damaged: {reason}") from error
    network.eval().requires_grad_(False)
    taught = tuple(one.name for one in formats if one.name not in left_out)
    return EmotionSpace(formats, network, mean, std, hashlib.sha256(raw).hexdigest(), taught)
