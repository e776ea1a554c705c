"""What every model and every encoder must hold, for the tests of those of your own.

    def test_my_model():
        check_model(MyModelConfig(width=8), ("audio", "text"))

Each check raises AssertionError, which says what does not hold. raysys' own are tested by the same checks.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from raysys.batches.padded import Layout, Padded
from raysys.corpus.table import Utterance
from raysys.encoders.encoder import EncoderConfig, Source
from raysys.encoders.extraction import encode_rows
from raysys.models.output import ModelOutput, ModelSettings

DIMS = {"audio": 6, "text": 5, "video": 3, "image": 4}
"""Modality -> width of the frames that models are tried on."""
_LENGTHS = {"audio": [2, 9, 5, 30], "text": [1, 3, 7, 2], "video": [4, 1, 1, 2], "image": [1] * 4}
_CLASSES = 4


def check_model(settings: ModelSettings, modalities: Sequence[str]) -> None:
    """All that a model of utterances or dialogues must hold, where it learns by gradients; set its dropout to 0.

    Args:
        settings: of the model, small ones.
        modalities: that it reads.

    Raises:
        AssertionError: one does not hold.
    """
    check_padding(settings, modalities)
    check_embedding(settings, modalities)
    check_gradients(settings, modalities)
    check_attention(settings, modalities)


def check_padding(settings: ModelSettings, modalities: Sequence[str]) -> None:
    """Neither padding, nor the order of a batch, nor who else is in it changes what is said of an utterance.

    Args:
        settings: of the model, without dropout.
        modalities: that it reads.

    Raises:
        AssertionError: it does not hold.
    """
    model = built(settings, modalities)
    with torch.inference_mode():
        together = model(padded(modalities, range(4)), alone(4))
        reverse = model(padded(modalities, range(3, -1, -1), extra=11), alone(4))
        single = [model(padded(modalities, [k]), alone(1)).logits for k in range(4)]
    flipped = reverse.embedding.flip(0)
    _near(flipped, together.embedding, "embeddings depend on padding or on the order")
    told = "logits of an utterance depend on the others in its batch"
    _near(torch.cat(single), together.logits, told)


def check_embedding(settings: ModelSettings, modalities: Sequence[str]) -> None:
    """The logits are one linear layer, the last, from the embedding; every modality has its vector.

    Args:
        settings: of the model, without dropout.
        modalities: that it reads.

    Raises:
        AssertionError: it does not hold.
    """
    model = built(settings, modalities)
    output: ModelOutput = model(padded(modalities, range(4)), alone(4))
    assert set(output.vectors) == set(modalities), "`vectors` needs one for each modality"
    assert all(len(one) == 4 for one in output.vectors.values()), "a vector for each utterance"
    assert output.logits.shape == (4, _CLASSES), "logits must be [batch, n_outputs]"
    linear = [part for part in model.modules() if isinstance(part, nn.Linear)]
    assert linear, "the head must be a linear layer"
    told = "the logits must be the last linear layer of the embedding"
    _near(linear[-1](output.embedding), output.logits, told)


def check_gradients(settings: ModelSettings, modalities: Sequence[str]) -> None:
    """Every weight gets a gradient, and eight utterances of random frames can be learnt by heart.

    Args:
        settings: of the model, without dropout.
        modalities: that it reads.

    Raises:
        AssertionError: it does not hold.
    """
    model = built(settings, modalities).train()
    torch.manual_seed(1)
    there = torch.ones(8, 12, dtype=torch.bool)
    batch = {m: Padded(torch.randn(8, 12, DIMS[m]), there) for m in modalities}
    labels = torch.arange(8) % _CLASSES
    speakers = torch.tensor([[0, 1, 0, 0], [0, 1, 1, 2]])
    layout = Layout(
        torch.arange(8).reshape(2, 4), torch.ones(2, 4, dtype=torch.bool), speakers
    )  # two dialogues of four turns
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(300):
        loss = nn.functional.cross_entropy(model(batch, layout).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        without = [name for name, one in model.named_parameters() if one.grad is None]
        assert step or not without, f"weights without a gradient: {', '.join(without)}"
        optimizer.step()
        if loss < 0.05:
            break
    guessed = model.eval()(batch, layout).logits.argmax(dim=1)
    assert torch.equal(guessed, labels), "eight utterances cannot be learnt by heart in 300 steps"


def check_attention(settings: ModelSettings, modalities: Sequence[str]) -> None:
    """A model has `attentions` between its modalities where its settings say that it attends.

    Args:
        settings: of the model.
        modalities: that it reads.

    Raises:
        AssertionError: it does not hold.
    """
    attends = settings.attends(modalities)
    model: Any = built(settings, modalities)
    found = model.attentions() if attends else {}
    assert bool(found) == attends, "settings.attends says so, but the model has no attentions"
    for (one, other), layers in found.items():
        between = {one, other} <= set(modalities) and one != other
        assert between, f"attention between {one} and {other}, which are not two of its modalities"
        kept = all(isinstance(layer, nn.MultiheadAttention) for layer in layers)
        assert kept, "attentions must be torch.nn.MultiheadAttention"


def check_encoder(
    settings: EncoderConfig, modality: str, utterances: Sequence[Utterance], root: Path
) -> None:
    """All that an encoder must hold.

    Args:
        settings: of the encoder.
        modality: that it encodes.
        utterances: of very different lengths.
        root: of their files.

    Raises:
        AssertionError: one does not hold.
        FeatureError, CorpusError: an utterance cannot be encoded.
    """
    check_company(settings, modality, utterances, root)
    check_fingerprint(settings, modality, utterances, root)


def check_company(
    settings: EncoderConfig, modality: str, utterances: Sequence[Utterance], root: Path
) -> None:
    """Every utterance is encoded once, to the same frames alone and among others, all of one width.

    Args:
        settings: of the encoder.
        modality: that it encodes.
        utterances: of very different lengths.
        root: of their files.

    Raises:
        AssertionError: it does not hold.
        FeatureError, CorpusError: an utterance cannot be encoded.
    """
    encoder = settings.build(modality)
    sources = [Source(k, row) for k, row in enumerate(utterances)]
    assert all(encoder.size(one, root) > 0 for one in sources), "sizes must be above 0"
    items = [encoder.read(one, root) for one in sources]
    order = sorted(k for k, _ in encoder.encode(items))
    assert order == list(range(len(items))), "each item must be yielded once"
    together = encode_rows(encoder, utterances, root)
    assert len({frames.shape[1] for frames in together}) == 1, "frames must be of one width"
    for row, frames in zip(utterances, together, strict=True):
        (single,) = encode_rows(encoder, [row], root)
        kept = single.dtype == np.float32 or encoder.keeps_precision
        assert kept, f"frames are {single.dtype}, not float32"
        assert len(single) >= 1, f"{row.utterance_id} has no frame"
        told = f"{row.utterance_id} is not the same alone and among others"
        np.testing.assert_allclose(frames, single, atol=2e-5, err_msg=told)


def check_fingerprint(
    settings: EncoderConfig, modality: str, utterances: Sequence[Utterance], root: Path
) -> None:
    """Two encoders of equal settings have equal fingerprints and the same frames, to the bit.

    Args:
        settings: of the encoder.
        modality: that it encodes.
        utterances: any.
        root: of their files.

    Raises:
        AssertionError: it does not hold.
        FeatureError, CorpusError: an utterance cannot be encoded.
    """
    first, second = settings.build(modality), settings.build(modality)
    assert first.fingerprint() == second.fingerprint(), "fingerprints of equal settings differ"
    made = (encode_rows(encoder, utterances, root) for encoder in (first, second))
    for row, a, b in zip(utterances, *made, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=f"{row.utterance_id} is not twice the same")


def built(settings: ModelSettings, modalities: Sequence[str]) -> nn.Module:
    """The untrained model of seed 0, for frames as wide as `DIMS`.

    Args:
        settings: of it.
        modalities: that it reads.
    """
    torch.manual_seed(0)
    dims = {modality: DIMS[modality] for modality in modalities}
    return settings.build(modalities, dims=dims, n_outputs=_CLASSES).eval()


def padded(
    modalities: Sequence[str], rows: Sequence[int] | range, extra: int = 0
) -> dict[str, Padded]:
    """A batch of random utterances, the same at every call.

    Args:
        modalities: of the batch.
        rows: which of the four there are.
        extra: frames of padding beyond the longest.
    """
    return {modality: _padded(modality, rows, extra) for modality in modalities}


def alone(count: int) -> Layout:
    """So many dialogues of one turn."""
    places = torch.arange(count)[:, None]
    return Layout(places, torch.ones(count, 1, dtype=torch.bool), torch.zeros_like(places))


def _padded(modality: str, rows: Sequence[int] | range, extra: int) -> Padded:
    generator = torch.Generator().manual_seed(len(modality))
    all_ = [torch.randn(n, DIMS[modality], generator=generator) for n in _LENGTHS[modality]]
    chosen = [all_[k] for k in rows]
    longest = max(map(len, chosen)) + extra
    values = torch.zeros(len(chosen), longest, DIMS[modality])
    mask = torch.zeros(len(chosen), longest, dtype=torch.bool)
    for k, frames in enumerate(chosen):
        values[k, : len(frames)] = frames
        mask[k, : len(frames)] = True
    return Padded(values, mask)


def _near(one: Tensor, other: Tensor, fault: str) -> None:
    assert_close(one, other, atol=1e-5, rtol=1e-5, msg=lambda numbers: f"{fault}\n{numbers}")
