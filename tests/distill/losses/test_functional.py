"""Tests of graphkd/distill/losses/functional.py."""

import math
from dataclasses import replace

import pytest
import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.meta_arch.dense_detector import permute_to_N_HWA_K
from torch.nn import functional as F

from graphkd.distill.losses.functional import (
    anchor_grids,
    bernoulli_kl,
    cell_mask,
    crop_to_common,
    deltas_of_class,
    dense_pair,
    flatten_dense,
    mean_of_present,
    mean_over_images,
    pearson_distance,
    softened_kl,
)
from graphkd.distill.outputs import Targets
from graphkd.errors import UserError


def test_images_weigh_the_same_and_empty_ones_leave():
    values = torch.tensor([1.0, 3.0, 10.0, 50.0])
    where = torch.tensor([True, True, True, False])
    assert mean_over_images(values, (2, 0, 2), where=where) == (2 + 10) / 2


def test_no_rows_give_zero_with_a_gradient():
    values = torch.zeros(0, requires_grad=True)
    mean = mean_over_images(values, (0, 0))
    assert mean == 0
    mean.backward()
    assert values.grad.shape == (0,)


def test_masked_rows_cannot_spoil_the_mean():
    values = torch.tensor([2.0, math.nan])
    assert mean_over_images(values, (2,), where=torch.tensor([True, False])) == 2


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


def test_equals_one_minus_pearson():
    """One channel, cells (1, 2, 3) against (1, 3, 2): r = 1/2."""
    student = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 1, 1, 3)
    teacher = torch.tensor([1.0, 3.0, 2.0]).reshape(1, 1, 1, 3)
    assert pearson_distance(student, teacher).item() == pytest.approx(0.5, abs=1e-5)
    assert pearson_distance(student, -student).item() == pytest.approx(2, abs=1e-5)


def test_agrees_with_corrcoef():
    draw = torch.Generator().manual_seed(0)
    student = torch.randn(2, 3, 5, 4, generator=draw)
    teacher = torch.randn(2, 3, 5, 4, generator=draw)
    rows = [
        torch.stack([s.flatten(), t.flatten()])
        for s, t in zip(student.transpose(0, 1), teacher.transpose(0, 1), strict=True)
    ]
    expected = torch.stack([1 - torch.corrcoef(each)[0, 1] for each in rows]).mean()
    torch.testing.assert_close(pearson_distance(student, teacher), expected)


def test_equals_the_squared_error_of_standardised_maps():
    """Value and slope; one channel is nearly flat, one lies far from 0."""
    draw = torch.Generator().manual_seed(0)
    scale, offset = torch.tensor([1.0, 1e-3, 2.0]), torch.tensor([0.0, 0.0, 20.0])
    student, teacher = (
        torch.randn(2, 3, 5, 4, generator=draw) * scale[:, None, None] + offset[:, None, None]
        for _ in range(2)
    )

    def standardised(maps):
        variance, mean = torch.var_mean(maps, (0, 2, 3), correction=0, keepdim=True)
        return (maps - mean) / (variance + 1e-6).sqrt()

    slopes = []
    for distance in (
        pearson_distance,
        lambda one, other: 0.5 * (standardised(one) - standardised(other)).square().mean(),
    ):
        leaf = student.clone().requires_grad_()
        value = distance(leaf, teacher)
        value.backward()
        slopes.append((value.detach(), leaf.grad))
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-6)


def test_flat_channels_have_a_finite_slope():
    student = torch.ones(1, 2, 3, 3, requires_grad=True)
    pearson_distance(student, torch.randn(1, 2, 3, 3)).backward()
    assert torch.isfinite(student.grad).all()


def test_cells_of_rectangles():
    """Columns 1 and 2 of rows 0 and 1; one that reaches beyond the map; and one without cells."""
    spans = torch.tensor([[1.0, 0.0, 3.0, 2.0], [3.0, 2.0, 9.0, 9.0], [1.0, 1.0, 1.0, 2.0]])
    cells = cell_mask(spans, size=(3, 4))
    expected = torch.tensor([[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    assert torch.equal(cells[0], expected)
    assert cells[1].nonzero().tolist() == [[2, 3]]
    assert not cells[2].any()
    assert cell_mask(spans[:0], size=(3, 4)).shape == (0, 3, 4)


def test_crop_keeps_the_top_left():
    student, teacher = torch.rand(1, 2, 3, 6), torch.rand(1, 2, 4, 5)
    cut, other = crop_to_common(student, teacher)
    assert torch.equal(cut, student[..., :5])
    assert torch.equal(other, teacher[..., :3, :])


@pytest.mark.parametrize("width", [1, 3, 4])
def test_dense_rows_are_ordered_like_detectron2(width):
    maps = torch.rand(2, 5 * width, 3, 4)
    assert torch.equal(flatten_dense(maps, width=width), permute_to_N_HWA_K(maps, width))


def test_anchors_and_dense_rows_agree():
    """A head that answers every anchor's left edge gives, in row j, the left edge of anchor j."""
    make = DefaultAnchorGenerator(
        sizes=[[16], [32]], aspect_ratios=[[0.5, 1.0, 2.0]], strides=[8, 16]
    )
    maps = [torch.zeros(1, 1, 4, 6), torch.zeros(1, 1, 2, 3)]
    anchors = tuple(each.tensor for each in make(maps))
    heads = tuple(
        each[:, 0].reshape(1, height, width, 3).permute(0, 3, 1, 2)
        for each, (height, width) in zip(anchors, [(4, 6), (2, 3)], strict=True)
    )
    rows, cropped = dense_pair(heads, tuple(each[..., :2, :3] for each in heads), width=1)
    targets = targets_with(anchors)
    grids = anchor_grids(targets, [(4, 6), (2, 3)])
    shared = torch.cat([grid[:2, :3].reshape(-1, 4) for grid in grids])
    assert torch.equal(rows[0, :, 0], shared[:, 0])
    assert torch.equal(rows, cropped)


def targets_with(anchors):
    return Targets(
        boxes=(),
        classes=(),
        image_sizes=(),
        strides={},
        num_classes=1,
        anchors=anchors,
    )


def test_heads_with_other_anchors_are_refused(toy):
    student, teacher = torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 2, 2)
    with pytest.raises(UserError, match="same anchors"):
        dense_pair((student,), (teacher,), width=1)
    with pytest.raises(UserError, match="same anchors"):
        dense_pair((student,), (student, student), width=1)


def test_anchors_on_other_levels_are_refused(toy):
    with pytest.raises(UserError, match="anchors"):
        anchor_grids(replace(toy.targets(), anchors=()), [(2, 2)])
    with pytest.raises(UserError, match="levels"):
        anchor_grids(toy.targets(), [(12, 16)])
