"""Tests of graphkd/distill/losses/reduce.py."""

import math

import pytest
import torch
from torch.nn import functional as F

from graphkd.distill.losses.reduce import (
    bernoulli_kl,
    deltas_of_class,
    image_index,
    mean_of_present,
    mean_over_images,
    softened_kl,
)


def test_image_index_skips_images_without_rows():
    assert image_index((2, 0, 1), device=torch.device("cpu")).tolist() == [0, 0, 2]


def test_images_weigh_the_same_and_empty_ones_leave():
    values = torch.tensor([1.0, 3.0, 10.0, 50.0])
    images = torch.tensor([0, 0, 2, 2])
    where = torch.tensor([True, True, True, False])
    assert mean_over_images(values, images, where=where) == (2 + 10) / 2


def test_no_rows_give_zero_with_a_gradient():
    values = torch.zeros(0, requires_grad=True)
    mean = mean_over_images(values, torch.zeros(0, dtype=torch.int64))
    assert mean == 0
    mean.backward()
    assert values.grad.shape == (0,)


def test_masked_rows_cannot_spoil_the_mean():
    values = torch.tensor([2.0, math.nan])
    images = torch.tensor([0, 0])
    assert mean_over_images(values, images, where=torch.tensor([True, False])) == 2


def test_mean_of_present():
    values = torch.tensor([2.0, 4.0, 9.0])
    assert mean_of_present(values, torch.tensor([True, True, False])) == 3
    assert mean_of_present(values, torch.zeros(3, dtype=torch.bool)) == 0


def test_softened_kl_agrees_with_the_sum_over_classes():
    student, teacher = torch.randn(5, 4), torch.randn(5, 4)
    p, q = (teacher / 3).softmax(1), (student / 3).softmax(1)
    expected = 9 * (p * (p / q).log()).sum(1)
    torch.testing.assert_close(softened_kl(student, teacher, temperature=3), expected)


def test_bernoulli_kl_is_the_two_class_kl():
    student, teacher = torch.randn(6), torch.randn(6)
    pair = [torch.stack([each, torch.zeros(6)], 1) for each in (student, teacher)]
    torch.testing.assert_close(
        bernoulli_kl(student, teacher, temperature=2), softened_kl(*pair, temperature=2)
    )


def test_kl_gives_the_teacher_no_gradient():
    teacher = torch.randn(2, 3, requires_grad=True)
    student = torch.randn(2, 3, requires_grad=True)
    softened_kl(student, teacher, temperature=1).sum().backward()
    assert teacher.grad is None
    slope = student.softmax(1) - teacher.softmax(1)
    torch.testing.assert_close(student.grad, slope.detach())


def test_kl_of_extreme_logits_is_finite():
    high = torch.tensor([[1e4, -1e4]])
    assert torch.isfinite(softened_kl(high, -high, temperature=1)).all()
    assert torch.isfinite(bernoulli_kl(high, -high, temperature=1)).all()
    assert F.softmax(high, 1).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("label", [0, 1])
def test_deltas_of_class(label):
    deltas = torch.arange(8.0)[None]
    assert deltas_of_class(deltas, torch.tensor([label])).tolist() == [
        [4.0 * label + i for i in range(4)]
    ]
    agnostic = deltas[:, :4]
    assert torch.equal(deltas_of_class(agnostic, torch.tensor([label])), agnostic)


def test_deltas_of_no_region():
    assert deltas_of_class(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64)).shape == (0, 4)
