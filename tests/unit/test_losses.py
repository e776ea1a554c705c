"""Losses against hand computation."""

import numpy as np
import torch
from torch.nn import functional

from raysys.batches.batch import Batch
from raysys.losses import LossConfig, make_objective
from raysys.losses.classification import (
    ClassificationLoss,
    balanced_class_weights,
    emotion_aware_loss,
    kl_loss,
)
from raysys.losses.regression import RegressionLoss, ccc_loss, mse_loss
from raysys.models.output import ModelOutput

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.3, 0.1, 0.4]], requires_grad=True)
ONE_HOT = torch.eye(3)[[0, 2]]
ONES = torch.ones(2)
ONES3 = torch.ones(3)


def test_kl_to_one_hot_targets_is_cross_entropy():
    expected = functional.cross_entropy(LOGITS, torch.tensor([0, 2]))
    torch.testing.assert_close(kl_loss(LOGITS, ONE_HOT, ONES), expected)


def test_kl_to_soft_targets_is_the_papers_sum_and_zero_at_the_target():
    targets = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    q = LOGITS.softmax(dim=1).detach().numpy()
    y = targets.numpy()
    terms = np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / q), 0.0)
    torch.testing.assert_close(
        kl_loss(LOGITS, targets, ONES).item(), terms.sum(axis=1).mean().item()
    )
    perfect = targets.clamp(min=1e-30).log()
    assert kl_loss(perfect, targets, ONES).abs() < 1e-6


def test_weights_count_an_utterance_several_times():
    twice = kl_loss(LOGITS, ONE_HOT, torch.tensor([2.0, 1.0]))
    rows = [0, 0, 1]
    torch.testing.assert_close(twice, kl_loss(LOGITS[rows], ONE_HOT[rows], torch.ones(3)))


def test_the_emotion_aware_term_is_the_expected_dissimilarity():
    similarity = torch.tensor([[1.0, 0.8, 0.1], [0.8, 1.0, 0.3], [0.1, 0.3, 1.0]])
    q = LOGITS.softmax(dim=1)
    expected = ((1 - similarity[0]) * q[0]).sum() / 2 + ((1 - similarity[2]) * q[1]).sum() / 2
    torch.testing.assert_close(emotion_aware_loss(LOGITS, ONE_HOT, similarity, ONES), expected)
    assert emotion_aware_loss(LOGITS, ONE_HOT, torch.ones(3, 3), ONES) == 0


def test_confusing_similar_emotions_costs_less():
    similarity = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.1], [0.1, 0.1, 1.0]])
    near = torch.tensor([[0.0, 9.0, 0.0]])
    far = torch.tensor([[0.0, 0.0, 9.0]])
    truth, one = torch.eye(3)[[0]], torch.ones(1)
    assert emotion_aware_loss(near, truth, similarity, one) < emotion_aware_loss(
        far, truth, similarity, one
    )


def test_the_objective_adds_omega_times_the_term_and_spreads_smoothed_targets():
    similarity = torch.eye(3)
    output = ModelOutput(LOGITS, torch.zeros(2, 4), {})
    batch = Batch({}, ONE_HOT, torch.tensor([0, 2]), torch.arange(2))
    weights = torch.ones(3)
    kl = kl_loss(LOGITS, ONE_HOT, ONES)
    aware = emotion_aware_loss(LOGITS, ONE_HOT, similarity, ONES)
    both = ClassificationLoss(0.7, weights, similarity)(output, batch)
    torch.testing.assert_close(both, kl + 0.7 * aware)
    plain = make_objective(LossConfig(), ClassificationLoss(0.0, weights), ONES3)
    torch.testing.assert_close(plain(output, batch), kl)
    smoothed = ClassificationLoss(0.0, weights, None, 0.3)(output, batch)
    targets = 0.7 * ONE_HOT + 0.1
    torch.testing.assert_close(smoothed, kl_loss(LOGITS, targets, ONES))


def test_class_weights_are_scikit_learns_balanced_ones():
    from sklearn.utils.class_weight import compute_class_weight

    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    torch.testing.assert_close(balanced_class_weights(labels, 3), torch.tensor(expected).float())


def test_gradients_match_finite_differences():
    similarity = torch.tensor([[1.0, 0.2, 0.5], [0.2, 1.0, 0.1], [0.5, 0.1, 1.0]]).double()
    logits = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
    targets = torch.randn(4, 3, dtype=torch.double).softmax(dim=1)
    weights = torch.rand(4, dtype=torch.double) + 0.5
    assert torch.autograd.gradcheck(lambda x: kl_loss(x, targets, weights), logits)
    assert torch.autograd.gradcheck(
        lambda x: emotion_aware_loss(x, targets, similarity, weights), logits
    )


def test_class_weights_weigh_the_utterances_of_a_batch():
    output = ModelOutput(LOGITS, torch.zeros(2, 4), {})
    batch = Batch({}, ONE_HOT, torch.tensor([0, 2]), torch.arange(2))
    weighted = ClassificationLoss(0.0, torch.tensor([3.0, 1.0, 1.0]))(output, batch)
    each = [kl_loss(LOGITS[[k]], ONE_HOT[[k]], torch.ones(1)) for k in range(2)]
    torch.testing.assert_close(weighted, (3 * each[0] + each[1]) / 4)


def test_the_objective_weighs_its_terms_to_one():
    output = ModelOutput(
        LOGITS, torch.randn(2, 4), {"a": torch.randn(2, 3), "b": torch.randn(2, 3)}
    )
    batch = Batch({}, ONE_HOT, torch.tensor([0, 2]), torch.arange(2))
    config = LossConfig(mu1=0.2, mu2=0.3)
    made = make_objective(config, ClassificationLoss(0.0, ONES3), ONES3)
    (first, swfc), (second, soft_hgr) = made.terms
    assert (first, second) == (0.2, 0.3)
    main = kl_loss(LOGITS, ONE_HOT, ONES)
    expected = 0.5 * main + 0.2 * swfc(output, batch) + 0.3 * soft_hgr(output, batch)
    torch.testing.assert_close(made(output, batch), expected)
    torch.testing.assert_close(made.validate(output, batch), main)


def test_concordance_and_squared_error_are_the_textbooks():
    values, truth = torch.randn(9, 2, dtype=torch.double), torch.randn(9, 2, dtype=torch.double)
    x, y = values.numpy(), truth.numpy()
    ccc = [
        2 * np.cov(x[:, k], y[:, k], ddof=0)[0, 1]
        / (x[:, k].var() + y[:, k].var() + (x[:, k].mean() - y[:, k].mean()) ** 2)
        for k in range(2)
    ]  # fmt: skip
    torch.testing.assert_close(ccc_loss(values, truth).item(), 1 - np.mean(ccc))
    torch.testing.assert_close(mse_loss(values, truth).item(), float(((x - y) ** 2).mean()))
    assert ccc_loss(truth, truth).abs() < 1e-6
    values.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: ccc_loss(v, truth), values)


def test_a_regressions_loss_is_in_units_of_the_train_part():
    mean, std = torch.tensor([3.0]), torch.tensor([2.0])
    loss = RegressionLoss("mse", mean, std)
    output = ModelOutput(torch.tensor([[0.5], [-1.0]]), torch.zeros(2, 1), {})
    batch = Batch(
        {}, torch.tensor([[4.0], [1.0]]), torch.zeros(2, dtype=torch.int64), torch.arange(2)
    )
    assert loss(output, batch) == 0
    assert RegressionLoss("ccc", mean, std).validation(output, batch) == 0
