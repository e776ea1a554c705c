"""What every model must hold; a new one joins by its registry line."""

import pytest
import torch

from raysys.batches.batch import Layout, Padded
from raysys.models import ModelConfig, model_names
from raysys.models.cltnet import CltnetConfig
from raysys.models.multiemo import MultiemoConfig

DIMS = {"audio": 6, "text": 5, "video": 3}
LENGTHS = {"audio": [2, 9, 5, 30], "text": [1, 3, 7, 2], "video": [4, 1, 1, 2]}
SETS = [("audio", "text"), ("audio",), ("text", "video"), ("audio", "text", "video")]


def build(name: str, modalities: tuple[str, ...]) -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = CltnetConfig(channels=7, text_dim=8, dim=9, layers=2, heads=2)
    dialogue = MultiemoConfig(dim=8, state=6, layers=2, heads=2, feedforward=16, dropout=0.0)
    config = ModelConfig(name=name, modalities=modalities, cltnet=sizes, multiemo=dialogue)
    return config.chosen.build(modalities, dims=DIMS, n_outputs=4).eval()


def utterances(modality: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(len(modality))
    return [torch.randn(n, DIMS[modality], generator=generator) for n in LENGTHS[modality]]


def alone(count: int) -> Layout:
    """So many dialogues of one turn."""
    places = torch.arange(count)[:, None]
    return Layout(places, torch.ones(count, 1, dtype=torch.bool), torch.zeros_like(places))


def padded(modalities: tuple[str, ...], rows: list[int], extra: int = 0, rubbish: float = 0.0):
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


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("modalities", SETS, ids="+".join)
def test_padding_order_and_company_change_nothing(name: str, modalities: tuple[str, ...]):
    model = build(name, modalities)
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


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("modalities", SETS, ids="+".join)
def test_the_logits_are_one_linear_layer_from_the_embedding(name: str, modalities):
    model = build(name, modalities)
    output = model(padded(modalities, [0, 1, 2, 3]), alone(4))
    assert set(output.vectors) == set(modalities)
    assert output.logits.shape == (4, 4)
    last = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1]
    torch.testing.assert_close(last(output.embedding), output.logits)


@pytest.mark.parametrize("name", model_names())
def test_a_missing_modality_is_not_a_zero_one(name: str):
    both, one = build(name, ("audio", "text")), build(name, ("audio",))
    assert sum(p.numel() for p in one.parameters()) < sum(p.numel() for p in both.parameters())
    assert "text" not in one(padded(("audio",), [0, 1]), alone(2)).vectors


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("modalities", SETS, ids="+".join)
def test_every_weight_gets_a_gradient_and_the_loss_overfits_eight_utterances(name: str, modalities):
    model = build(name, modalities).train()
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
    for step in range(150):
        loss = torch.nn.functional.cross_entropy(model(batch, layout).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            for weight_name, weight in model.named_parameters():
                assert weight.grad is not None, weight_name
        optimizer.step()
    model.eval()
    assert (model(batch, layout).logits.argmax(dim=1) == labels).all()
