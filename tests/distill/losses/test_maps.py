"""The functions that losses on text maps share."""

import numpy as np
import pytest
import torch

from graphkd.distill.losses.functional import bernoulli_kl, softened_kl
from graphkd.distill.losses.maps import auc, dice, entropy, labels_at, masked_mean, text_pair
from graphkd.distill.outputs import Outputs
from tests.distill.losses.map_pages import targets


def test_entropy_is_that_of_the_probability_in_float64():
    logits = torch.linspace(-60, 60, 241)
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    q = 1 / (1 + np.exp(logits.double().numpy()))
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = -np.nan_to_num(p * np.log2(p)) - np.nan_to_num(q * np.log2(q))
    np.testing.assert_allclose(entropy(logits).numpy(), expected, atol=2e-6)
    assert entropy(torch.zeros(1)) == 1
    assert entropy(torch.tensor([1e4, -1e4])).abs().max() == 0


def test_entropy_is_even_and_flat_at_zero():
    logits = torch.randn(100)
    torch.testing.assert_close(entropy(logits), entropy(-logits), atol=1e-6, rtol=0)
    zero = torch.zeros(3, requires_grad=True)
    entropy(zero).sum().backward()
    assert (zero.grad == 0).all()


def test_entropy_gradient_by_finite_differences():
    logits = torch.tensor([-3.0, -0.5, 0.7, 2.0], requires_grad=True)
    entropy(logits).sum().backward()
    z = logits.detach().double()
    expected = -z * z.sigmoid() * (1 - z.sigmoid()) / np.log(2)
    torch.testing.assert_close(logits.grad.double(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_bernoulli_kl_is_the_two_class_softmax_kl(temperature):
    student, teacher = torch.randn(2, 5, 7)
    zeros = torch.zeros_like(student)
    both = (torch.stack([each, zeros], -1) for each in (student, teacher))
    torch.testing.assert_close(
        bernoulli_kl(student, teacher, temperature=temperature),
        softened_kl(*both, temperature=temperature),
    )


def test_labels_at_a_coarser_size():
    label, mask = labels_at(targets(), (16, 24))
    assert label[0, 0, 4:8, 2:16].all() and label.sum() == 2 * 4 * 14
    assert mask[..., :20].all() and not mask[..., 20:].any()
    truth = targets()
    truth.maps["mask"][:, :, 16, 8] = 0  # one ignored pixel takes its whole cell out
    assert labels_at(truth, (16, 24))[1][0, 0, 4, 2] == 0


def test_masked_mean_by_hand():
    values = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    assert masked_mean(values, torch.tensor([1.0, 0.0, 1.0, 0.0])) == 2
    nothing = masked_mean(values, torch.zeros(4))
    nothing.backward()
    assert nothing == 0 and (values.grad == 0).all()


def test_untrusted_pixels_of_the_teacher_leave_the_mask():
    text = torch.zeros(2, 1, 64, 96)
    trusted = torch.ones_like(text)
    trusted[..., :32, :] = 0
    mask = text_pair(
        Outputs(maps={"text": text}),
        Outputs(maps={"text": text, "trusted": trusted}),
        targets(),
    )[2]
    assert not mask[..., :32, :].any() and mask[..., 32:, :80].all()


def test_auc():
    labels = torch.tensor([0.0, 0.0, 1.0, 1.0])
    ones = torch.ones(4)
    assert auc(torch.tensor([1.0, 2.0, 3.0, 4.0]), labels, ones) == 1
    assert auc(torch.tensor([4.0, 3.0, 2.0, 1.0]), labels, ones) == 0
    assert auc(torch.tensor([1.0, 3.0, 2.0, 4.0]), labels, ones) == 0.75
    assert auc(torch.zeros(4), labels, ones) == 0.5
    assert auc(torch.zeros(4), torch.zeros(4), ones) == 0.5
    assert auc(torch.tensor([9.0, 2.0, 3.0, 4.0]), labels, torch.tensor([0.0, 1, 1, 1])) == 1


def test_dice_by_hand():
    logits, labels = torch.tensor([50.0, 50.0, -50.0]), torch.tensor([1.0, 0.0, 0.0])
    assert dice(logits, labels, torch.ones(3)) == pytest.approx(1 - 2 / 3, abs=1e-5)
    assert dice(logits, labels, torch.tensor([1.0, 0.0, 1.0])) == pytest.approx(0, abs=1e-5)
