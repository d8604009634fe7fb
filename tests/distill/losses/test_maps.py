"""Tests of graphkd/distill/losses/maps.py."""

from dataclasses import replace

import pytest
import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.meta_arch.dense_detector import permute_to_N_HWA_K
from torch import nn

from graphkd.distill.losses.maps import (
    anchor_grids,
    channel_adapter,
    crop_to_common,
    dense_pair,
    flatten_dense,
    level_adapters,
    level_pairs,
    reference_cells,
    reference_width,
)
from graphkd.distill.outputs import Targets
from graphkd.errors import UserError


def test_crop_keeps_the_top_left():
    student, teacher = torch.rand(1, 2, 3, 6), torch.rand(1, 2, 4, 5)
    cut, other = crop_to_common(student, teacher)
    assert torch.equal(cut, student[..., :5])
    assert torch.equal(other, teacher[..., :3, :])


def test_adapter_is_the_identity_where_widths_agree():
    assert isinstance(channel_adapter(8, 8, kernel=3), nn.Identity)
    assert channel_adapter(8, 12, kernel=3)(torch.zeros(1, 8, 5, 7)).shape == (1, 12, 5, 7)


def test_an_adapter_that_is_always_there_starts_as_the_identity():
    adapter, maps = channel_adapter(8, 8, kernel=3, always=True), torch.randn(2, 8, 5, 7)
    assert torch.equal(adapter(maps), maps)
    assert adapter.weight.requires_grad


def test_adapters_of_the_finest_levels(toy):
    context = toy.context(teacher_channels=12)
    assert tuple(level_adapters(context)) == toy.levels
    assert tuple(level_adapters(context, levels=2)) == toy.levels[:2]


def test_pairs_know_their_stride_and_hold_the_teacher_still(toy):
    adapters = level_adapters(toy.context(teacher_channels=12))
    teacher = toy.outputs(2, channels=12, padded=(128, 128))
    teacher = toy.change(teacher, lambda tensor: tensor.requires_grad_())
    pairs = level_pairs(toy.outputs(1), teacher, toy.targets(), adapters=adapters)
    assert [pair.name for pair in pairs] == list(toy.levels)
    # 96 pixels on 2 cells are still 64 a cell: the second covers padding.
    assert [pair.stride for pair in pairs] == [8, 16, 32, 64]
    for pair in pairs:
        assert pair.student.shape == pair.teacher.shape
        assert pair.student.requires_grad
        assert not pair.teacher.requires_grad


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


def test_a_detector_without_anchors_is_refused(toy):
    with pytest.raises(UserError, match="anchors"):
        anchor_grids(replace(toy.targets(), anchors=()), [(2, 2)])
    with pytest.raises(UserError, match="levels"):
        anchor_grids(toy.targets(), [(12, 16)])


def test_levels_together_weigh_what_sums_over_a_usual_input_do(toy):
    """An input of 1333 x 800 padded to 1344 x 800; stride 64 and 128 round up."""
    two, one = toy.context(), toy.context(two_stage=False)
    published = sum((800 // s) * (1344 // s) for s in (4, 8, 16, 32))
    assert len(two.levels) * reference_cells(two) == pytest.approx(published)
    published = sum((800 // s) * (1344 // s) for s in (8, 16, 32)) + 13 * 21 + 7 * 11
    assert len(one.levels) * reference_cells(one) == pytest.approx(published)


def test_reference_width_makes_up_for_narrow_maps(toy):
    assert reference_width(toy.context(teacher_channels=256)) == 1
    assert reference_width(toy.context(student_channels=256, teacher_channels=64)) == 4
