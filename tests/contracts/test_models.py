"""What every model must hold; a new one joins by its registry line."""

from typing import Any

import pytest
import torch

from raysys.batches.batch import Layout, Padded
from raysys.models import ModelConfig, model_names

DIMS = {"audio": 6, "text": 5, "video": 3}
LENGTHS = {"audio": [2, 9, 5, 30], "text": [1, 3, 7, 2], "video": [4, 1, 1, 2]}
SETS = [
    ("audio",),
    ("text",),
    ("audio", "text"),
    ("text", "audio"),
    ("text", "video"),
    ("audio", "text", "video"),
]
NAMES = [
    name for name, kind in model_names().items() if not kind.reads_formats and not kind.fits_at_once
]
"""Models of what people say and look like that learn by gradients; that of labels is in
`tests/unit/test_multiway.py`, those that are fitted at once in `tests/unit/test_fitted.py`."""
SMALL: dict[str, list[dict[str, Any]]] = {
    "cltnet": [{"channels": 7, "text_dim": 8, "dim": 9, "layers": 2, "heads": 2}],
    "multiemo": [{"dim": 8, "state": 6, "layers": 2, "heads": 2, "feedforward": 16}],
    "bimodal_attention": [
        {"dim": 8, "heads": 2, "feedforward": 16, **parts}
        for parts in (
            {},
            {"layers": 0},
            {"fusion": "sequence"},
            {"fusion": "concatenation"},
            {"fusion": "average"},
            {"fusion": "gate"},
        )
    ],
    "speechtext": [{"hidden": 8}],
    "mat": [
        {"hidden": 8, "heads": 2, "feedforward": 16, "head_dropout": 0.0, "modulation": kind}
        for kind in ("attention", "normalisation")
    ],
    "probe": [{}],
    "mcsan": [{"dim": 16, "heads": 2, "feedforward": 16}],
}
"""Model -> sizes that a test can train, one for each of its ways."""
CASES = [
    pytest.param(name, sizes, modalities, id=f"{name}{k}-{'+'.join(modalities)}")
    for name, ways in SMALL.items()
    for k, sizes in enumerate(ways)
    for modalities in SETS
    if set(modalities) <= set(model_names()[name].reads)
]
every_case = pytest.mark.parametrize(("name", "sizes", "modalities"), CASES)


def test_every_model_is_covered():
    assert set(SMALL) == set(NAMES)


def build(name: str, sizes: dict[str, Any], modalities: tuple[str, ...]) -> torch.nn.Module:
    torch.manual_seed(0)
    settings = model_names()[name](**({"dropout": 0.0} | sizes))
    config = ModelConfig(name=name, modalities=modalities, **{name: settings})
    return config.chosen.build(modalities, dims=DIMS, n_outputs=4).eval()


def utterances(modality: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(len(modality))
    return [torch.randn(n, DIMS[modality], generator=generator) for n in LENGTHS[modality]]


def alone(count: int) -> Layout:
    """So many dialogues of one turn."""
    places = torch.arange(count)[:, None]
    return Layout(places, torch.ones(count, 1, dtype=torch.bool), torch.zeros_like(places))


def padded(modalities: tuple[str, ...], rows: list[int], extra: int = 0):
    batch = {}
    for modality in modalities:
        chosen = [utterances(modality)[k] for k in rows]
        longest = max(len(u) for u in chosen) + extra
        values = torch.zeros(len(chosen), longest, DIMS[modality])
        mask = torch.zeros(len(chosen), longest, dtype=torch.bool)
        for k, u in enumerate(chosen):
            values[k, : len(u)] = u
            mask[k, : len(u)] = True
        batch[modality] = Padded(values, mask)
    return batch


@every_case
def test_padding_order_and_company_change_nothing(name: str, sizes, modalities):
    model = build(name, sizes, modalities)
    with torch.inference_mode():
        together = model(padded(modalities, [0, 1, 2, 3]), alone(4))
        reversed_ = model(padded(modalities, [3, 2, 1, 0], extra=11), alone(4))
        single = [model(padded(modalities, [k]), alone(1)) for k in range(4)]
    torch.testing.assert_close(
        reversed_.embedding.flip(0), together.embedding, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        torch.cat([o.logits for o in single]), together.logits, atol=1e-5, rtol=1e-5
    )


@every_case
def test_the_logits_are_one_linear_layer_from_the_embedding(name: str, sizes, modalities):
    model = build(name, sizes, modalities)
    output = model(padded(modalities, [0, 1, 2, 3]), alone(4))
    assert set(output.vectors) == set(modalities)
    assert all(len(vector) == 4 for vector in output.vectors.values())
    assert output.logits.shape == (4, 4)
    last = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1]
    torch.testing.assert_close(last(output.embedding), output.logits)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_modality_is_not_a_zero_one(name: str):
    sizes = SMALL[name][0]
    both, one = build(name, sizes, ("audio", "text")), build(name, sizes, ("audio",))
    assert sum(p.numel() for p in one.parameters()) < sum(p.numel() for p in both.parameters())
    assert "text" not in one(padded(("audio",), [0, 1]), alone(2)).vectors


@every_case
def test_every_weight_gets_a_gradient_and_the_loss_overfits_eight_utterances(
    name: str, sizes, modalities
):
    model = build(name, sizes, modalities).train()
    torch.manual_seed(1)
    batch = {
        m: Padded(torch.randn(8, 12, DIMS[m]), torch.ones(8, 12, dtype=torch.bool))
        for m in modalities
    }
    labels = torch.arange(8) % 4
    whole = torch.ones(2, 4, dtype=torch.bool)
    speakers = torch.tensor([[0, 1, 0, 0], [0, 1, 1, 2]])
    layout = Layout(torch.arange(8).reshape(2, 4), whole, speakers)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(300):
        loss = torch.nn.functional.cross_entropy(model(batch, layout).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            for weight_name, weight in model.named_parameters():
                assert weight.grad is not None, weight_name
        optimizer.step()
        if loss < 0.05:
            break
    model.eval()
    assert (model(batch, layout).logits.argmax(dim=1) == labels).all()


@every_case
def test_attention_between_modalities_is_found_where_a_model_says_so(name: str, sizes, modalities):
    model = build(name, sizes, modalities)
    settings = model_names()[name](**sizes)
    attentions = model.attentions() if settings.attends(modalities) else {}
    assert bool(attentions) == settings.attends(modalities)
    for (one, other), layers in attentions.items():
        assert {one, other} <= set(modalities)
        assert one != other
        assert all(isinstance(layer, torch.nn.MultiheadAttention) for layer in layers)
