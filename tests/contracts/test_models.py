"""What every model must hold; a new one joins by its registry line."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from torch import nn

from raysys import contracts
from raysys.models import model_names
from raysys.models.output import ModelOutput, ModelSettings

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


def settings_of(name: str, sizes: dict[str, Any]) -> ModelSettings:
    return model_names()[name](**({"dropout": 0.0} | sizes))


@every_case
def test_padding_order_and_company_change_nothing(name: str, sizes, modalities):
    contracts.check_padding(settings_of(name, sizes), modalities)


@every_case
def test_the_logits_are_one_linear_layer_from_the_embedding(name: str, sizes, modalities):
    contracts.check_embedding(settings_of(name, sizes), modalities)


@every_case
def test_every_weight_gets_a_gradient_and_the_loss_overfits_eight_utterances(
    name: str, sizes, modalities
):
    contracts.check_gradients(settings_of(name, sizes), modalities)


@every_case
def test_attention_between_modalities_is_found_where_a_model_says_so(name: str, sizes, modalities):
    contracts.check_attention(settings_of(name, sizes), modalities)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_modality_is_not_a_zero_one(name: str):
    settings = settings_of(name, SMALL[name][0])
    both, one = contracts.built(settings, ("audio", "text")), contracts.built(settings, ("audio",))
    assert sum(p.numel() for p in one.parameters()) < sum(p.numel() for p in both.parameters())
    batch = contracts.padded(("audio",), [0, 1])
    assert "text" not in one(batch, contracts.alone(2)).vectors


class Forgetful(nn.Module):
    """Breaks one rule after the other."""

    def __init__(self, fault: str, width: int) -> None:
        super().__init__()
        self.fault = fault
        self.unused = nn.Linear(2, 2) if fault == "unused" else None
        self.head = nn.Linear(width, 4)

    def forward(self, modalities, layout):
        values, mask = modalities["audio"].values, modalities["audio"].mask[:, :, None]
        counts = values.shape[1] if self.fault == "padding" else mask.sum(dim=1)
        embedding = (values * mask).sum(dim=1) / counts
        if self.fault == "company":
            embedding = embedding - embedding.mean(dim=0)
        logits = self.head(embedding) * (2 if self.fault == "embedding" else 1)
        return ModelOutput(
            logits, embedding, {} if self.fault == "vectors" else {"audio": embedding}
        )


@dataclass(frozen=True)
class ForgetfulConfig(ModelSettings):
    fault: str = ""
    reads_dialogues: ClassVar[bool] = False

    def attends(self, modalities):
        return self.fault == "attention"

    def build(self, modalities, *, dims, n_outputs):
        model = Forgetful(self.fault, dims["audio"])
        if self.fault == "attention":
            model.attentions = dict
        return model


@pytest.mark.parametrize(
    "fault, said",
    [
        ("padding", "embeddings depend on padding"),
        ("company", "depend on the others in its batch"),
        ("embedding", "the last linear layer of the embedding"),
        ("vectors", "`vectors` needs one for each modality"),
        ("unused", "weights without a gradient: unused.weight, unused.bias"),
        ("attention", "the model has no attentions"),
    ],
)
def test_what_a_model_breaks_is_named(fault: str, said: str):
    with pytest.raises(AssertionError, match=said):
        contracts.check_model(ForgetfulConfig(fault), ("audio",))
