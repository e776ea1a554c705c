"""SWFC and Soft-HGR against reference values of the authors' code, direct loops over the equations, and gradients."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from raysys.batches.batch import Batch
from raysys.errors import ConfigError
from raysys.losses import LossConfig, make_objective
from raysys.losses.classification import ClassificationLoss, kl_loss
from raysys.losses.soft_hgr import soft_hgr_loss
from raysys.losses.swfc import swfc_loss
from raysys.models.output import ModelOutput
from tests.conftest import SHARED

SETTINGS = {"temperature": 0.7, "focus": 1.5, "alpha": 0.9}


def batch_of(n: int = 20, dim: int = 6, classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(n)
    labels = torch.arange(n) % (classes - 1)
    labels[0] = classes - 1  # alone in its emotion
    return torch.randn(n, dim, dtype=torch.double), labels, torch.tensor([40.0, 10.0, 30.0, 5.0])


def swfc_by_loop(z: Tensor, labels: Tensor, counts: Tensor, mode: str) -> float:
    """Eq. 18-19 one utterance and one positive at a time."""
    z = z / z.norm(dim=1, keepdim=True) if mode == "official" else z
    weights = (counts.sum() / counts.double()) ** SETTINGS["alpha"]
    weights = weights / weights.sum() if mode == "official" else weights
    total = 0.0
    for j in range(len(z)):
        others = [g for g in range(len(z)) if g != j]
        scores = {g: float((z[j] @ z[g] / SETTINGS["temperature"]).exp()) for g in others}
        positives = [g for g in others if labels[g] == labels[j]]
        terms = []
        for g in positives:
            s = scores[g] / sum(scores.values())
            terms.append((1 - s) ** SETTINGS["focus"] * np.log(s))
        if terms:
            total -= float(weights[labels[j]]) * float(np.mean(terms))
    return total / len(z) if mode == "official" else total


@pytest.mark.parametrize("case", range(3))
def test_both_losses_match_the_authors_code(case: int):
    path = SHARED / "reference" / "multiemo_losses.npz"
    if not path.is_file():
        pytest.skip(f"no reference values at {path}")
    values = {
        key.split("/")[1]: torch.from_numpy(np.asarray(array))
        for key, array in np.load(path).items()
        if key.startswith(f"case{case}/")
    }
    loss = swfc_loss(
        values["features"],
        values["labels"],
        values["class_counts"],
        temperature=float(values["temperature"]),
        focus=float(values["focus"]),
        alpha=float(values["sample_weight"]),
        mode="official",
    )
    assert float(loss) == pytest.approx(float(values["swfc"]), abs=1e-5)
    agreement = soft_hgr_loss([values[m] for m in ("text", "audio", "video")], mode="official")
    assert float(agreement) == pytest.approx(float(values["soft_hgr_official"]), abs=1e-5)


@pytest.mark.parametrize("mode", ["official", "paper"])
def test_swfc_is_the_sum_of_its_equation(mode: str):
    z, labels, counts = batch_of()
    loss = swfc_loss(z, labels, counts.double(), **SETTINGS, mode=mode)
    assert float(loss) == pytest.approx(swfc_by_loop(z, labels, counts, mode), rel=1e-9)


def soft_hgr_by_loop(modalities: list[Tensor], mode: str) -> float:
    """Eq. 20 with NumPy's covariances, literally n x n in official mode."""
    total = 0.0
    for first, second in combinations([m.numpy() for m in modalities], 2):
        n = len(first)
        if mode == "paper":
            x, y = first - first.mean(axis=0), second - second.mean(axis=0)
            trace = np.trace(np.cov(first, rowvar=False) @ np.cov(second, rowvar=False))
            total += np.mean((x * y).sum(axis=1)) - trace / 2
        else:
            trace = np.trace(np.cov(first) @ np.cov(second))
            total += (np.mean((first * second).sum(axis=1)) - trace / (2 * n)) / n
    return -float(total)


@pytest.mark.parametrize("mode", ["official", "paper"])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("n", [5, 30])
def test_soft_hgr_is_the_sum_of_its_equation(mode: str, count: int, n: int):
    torch.manual_seed(n)
    modalities = [torch.randn(n, 7, dtype=torch.double) for _ in range(count)]
    loss = soft_hgr_loss(modalities, mode=mode)
    assert float(loss) == pytest.approx(soft_hgr_by_loop(modalities, mode), rel=1e-9)


@pytest.mark.parametrize("mode", ["official", "paper"])
@pytest.mark.parametrize("focus", [0.0, 0.5, 2.4])
def test_gradients_match_finite_differences(mode: str, focus: float):
    z, labels, counts = batch_of(n=7, dim=3)
    z.requires_grad_()
    settings = {**SETTINGS, "focus": focus, "mode": mode}
    assert torch.autograd.gradcheck(
        lambda x: swfc_loss(x, labels, counts.double(), **settings), (z,)
    )
    others = [torch.randn(7, 3, dtype=torch.double, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda *m: soft_hgr_loss(list(m), mode=mode), (z, *others))


def test_an_utterance_alone_in_its_emotion_or_batch_adds_nothing():
    z, labels, counts = batch_of()
    alone = torch.arange(4)
    loss = swfc_loss(z[:4], alone, counts.double(), **SETTINGS, mode="official")
    assert float(loss) == 0
    single = z[:1].clone().requires_grad_()
    loss = swfc_loss(single, labels[:1], counts.double(), **SETTINGS, mode="paper")
    loss.backward()
    assert float(loss.detach()) == 0
    assert single.grad is not None
    assert not single.grad.any()
    assert torch.isfinite(soft_hgr_loss([z[:1], z[1:2]], mode="paper"))


def test_the_order_of_the_batch_does_not_matter():
    z, labels, counts = batch_of()
    order = torch.randperm(len(z))
    for mode in ("official", "paper"):
        losses = [
            swfc_loss(z[rows], labels[rows], counts.double(), **SETTINGS, mode=mode)
            for rows in (torch.arange(len(z)), order)
        ]
        torch.testing.assert_close(losses[0], losses[1])


def test_one_modality_has_nothing_to_agree_with():
    with pytest.raises(ValueError, match="was given 1"):
        soft_hgr_loss([torch.zeros(3, 2)], mode="paper")


@pytest.mark.parametrize("mode", ["official", "paper"])
def test_the_objective_weighs_its_three_losses_to_one(mode: str):
    z, labels, counts = batch_of(n=12, classes=4)
    z, counts = z.float(), counts.float()
    vectors = {"audio": torch.randn(12, 6), "text": torch.randn(12, 6)}
    output = ModelOutput(torch.randn(12, 4), z, vectors)
    targets = torch.eye(4)[labels]
    batch = Batch({}, targets, labels, torch.arange(12))
    config = LossConfig(mu1=0.3, mu2=0.2, tau=0.7, gamma=1.5, alpha=0.9, mode=mode)
    loss = make_objective(config, ClassificationLoss(0.0, torch.ones(4)), counts)(output, batch)
    per = 12 if mode == "paper" else 1  # the 1/N of Eq. 22
    expected = (
        0.3 * swfc_loss(z, labels, counts, **SETTINGS, mode=mode) / per
        + 0.2 * soft_hgr_loss(list(vectors.values()), mode=mode) / per
        + 0.5 * kl_loss(output.logits, targets, torch.ones(12))
    )
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("values", [{"mu1": -0.1}, {"mu1": 1.1}, {"mu1": 0.6, "mu2": 0.5}])
def test_weights_off_the_simplex_are_refused(values: dict[str, float]):
    with pytest.raises(ConfigError, match=r"loss\.mu"):
        LossConfig(**values)


def test_swfc_pulls_an_emotion_together():
    torch.manual_seed(0)
    z = torch.randn(24, 8, requires_grad=True)
    labels, counts = torch.arange(24) % 3, torch.full((3,), 8.0)
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        swfc_loss(z, labels, counts, **SETTINGS, mode="official").backward()
        optimizer.step()
    unit = torch.nn.functional.normalize(z.detach())
    cosine, same = unit @ unit.T, labels[:, None] == labels
    assert cosine[same].mean() > 0.95
    assert cosine[~same].mean() < 0
