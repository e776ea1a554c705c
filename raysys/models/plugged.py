"""A model of a user's own, tried on two utterances before a worker starts, so that its mistakes are a line."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from raysys.batches.padded import Layout, Padded
from raysys.errors import ConfigError
from raysys.models.output import ModelOutput, ModelSettings
from raysys.plugins import blamed

_LENGTHS = (3, 5)


def try_model(
    settings: ModelSettings,
    name: str,
    *,
    dims: Mapping[str, int],
    n_outputs: int,
) -> None:
    """Build a plug-in's model and ask it once, on a dialogue of two random utterances.

    Args:
        settings: of the model.
        name: of the plug-in.
        dims: modality that it reads -> width of its frames.
        n_outputs: width of the head.

    Raises:
        ConfigError: it fails, or does not return what a model must.
    """
    modalities = tuple(dims)
    with torch.random.fork_rng(devices=[]), blamed(name, ConfigError):
        model = settings.build(modalities, dims=dims, n_outputs=n_outputs)
        _require(isinstance(model, nn.Module), name, f"build returned a {type(model).__name__}")
        mask = torch.arange(max(_LENGTHS)) < torch.tensor(_LENGTHS)[:, None]
        batch = {
            m: Padded(torch.randn(2, max(_LENGTHS), dims[m]) * mask[..., None], mask)
            for m in modalities
        }
        layout = Layout(
            torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool), torch.tensor([[0, 1]])
        )
        found = model.eval()(batch, layout if settings.reads_dialogues else None)
    _require(isinstance(found, ModelOutput), name, f"forward returned a {type(found).__name__}")
    _require(
        _is(found.logits, (2, n_outputs)), name, _shape("logits", found.logits, f"[2, {n_outputs}]")
    )
    good = (
        isinstance(found.embedding, Tensor)
        and found.embedding.ndim == 2
        and len(found.embedding) == 2
    )
    _require(good, name, _shape("embedding", found.embedding, "[2, dim]"))
    if missing := set(modalities) - set(found.vectors):
        _require(False, name, f"the output has no vector of {' and '.join(sorted(missing))}")
    finite = bool(torch.isfinite(found.logits).all())
    _require(finite, name, "logits of random frames are NaN or infinite")


def _is(value: object, shape: tuple[int, ...]) -> bool:
    return isinstance(value, Tensor) and tuple(value.shape) == shape


def _shape(what: str, value: object, wanted: str) -> str:
    own = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
    return f"{what} of 2 utterances are {own}, but must be {wanted}"


def _require(holds: bool, name: str, fault: str) -> None:
    if not holds:
        raise ConfigError(f"plug-in '{name}': {fault}: raysys/PLUGINS.md has a model that works")
