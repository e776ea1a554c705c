"""The multi-way mapping model: what an item is not rated in changes nothing, and whoever stands beside it neither."""

import pytest
import torch

from raysys.batches.padded import Padded
from raysys.models import ModelConfig, model_names

FORMATS = {"vad": 3, "plutchik8": 8, "be5": 5}
NAMES = tuple(FORMATS)


def build(dropout: float = 0.0) -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = model_names()["multiway"](dim=12, hidden=16, dropout=dropout)
    config = ModelConfig(name="multiway", modalities=NAMES, multiway=sizes)
    return config.chosen.build(NAMES, dims=FORMATS, n_outputs=3 * 16)


def items(count: int) -> dict[str, Padded]:
    random = torch.Generator().manual_seed(1)
    whole = torch.ones(count, 1, dtype=torch.bool)
    return {n: Padded(torch.rand(count, 1, d, generator=random), whole) for n, d in FORMATS.items()}


def without(batch: dict[str, Padded], name: str, row: int) -> dict[str, Padded]:
    values = batch[name].values.clone()
    values[row] = -1
    return {**batch, name: Padded(values, batch[name].mask)}


def test_every_format_is_decoded_from_every_format_by_the_same_decoder():
    model = build().eval()
    output = model(items(4), None)
    assert output.logits.shape == (4, 48)
    blocks = output.logits.split([3, 8, 5] * 3, dim=1)
    for s, source in enumerate(NAMES):
        for t, target in enumerate(NAMES):
            wanted = output.vectors[source] @ output.weights[target].T
            torch.testing.assert_close(blocks[3 * s + t], wanted)


def test_the_embedding_is_the_mean_over_the_formats_that_an_item_is_rated_in():
    model = build().eval()
    whole = items(3)
    output = model(without(whole, "be5", 1), None)
    vectors = output.vectors
    torch.testing.assert_close(output.embedding[0], torch.stack([*vectors.values()])[:, 0].mean(0))
    torch.testing.assert_close(
        output.embedding[1], (vectors["vad"][1] + vectors["plutchik8"][1]) / 2
    )
    torch.testing.assert_close(output.logits[0], model(whole, None).logits[0])


def test_an_item_is_the_same_in_any_company():
    model = build().eval()
    together = items(5)
    alone = []
    for k in range(5):
        one = {n: Padded(p.values[[k]], p.mask[[k]]) for n, p in together.items()}
        alone.append(model(one, None))
    torch.testing.assert_close(
        model(together, None).logits, torch.cat([one.logits for one in alone])
    )


def test_every_weight_learns():
    model = build(dropout=0.1).train()
    model(items(4), None).logits.square().mean().backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_sizes_out_of_range_are_refused():
    from raysys.errors import ConfigError

    with pytest.raises(ConfigError, match="model.multiway.dim is 0"):
        model_names()["multiway"](dim=0)


def test_label_encoders_have_as_many_hidden_layers_as_asked_for():
    sizes = model_names()["multiway"](dim=100, hidden=128, dropout=0.2, hidden_layers=2)
    net = sizes.build(("vad", "be5"), dims={"vad": 3, "be5": 5}, n_outputs=16)
    weights = [tuple(one.shape) for one in net.encoders["vad"].parameters() if one.ndim == 2]
    assert weights == [(128, 3), (128, 128), (100, 128)]  # as in the authors' code
    assert [one.p for one in net.encoders["vad"].modules() if isinstance(one, torch.nn.Dropout)]
