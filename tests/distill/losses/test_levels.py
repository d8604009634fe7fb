"""Tests of graphkd/distill/losses/levels.py."""

import pytest
import torch
from torch import nn

from graphkd.distill.losses.levels import (
    SMALL_START,
    channel_adapter,
    level_adapters,
    level_pairs,
    reference_cells,
    reference_width,
    region_adapter,
)


def test_adapter_is_the_identity_where_widths_agree():
    assert isinstance(channel_adapter(8, 8, kernel=3), nn.Identity)
    assert channel_adapter(8, 12, kernel=3)(torch.zeros(1, 8, 5, 7)).shape == (1, 12, 5, 7)


def test_an_adapter_that_is_always_there_can_start_as_the_identity():
    adapter, maps = channel_adapter(8, 8, kernel=3, start="identity"), torch.randn(2, 8, 5, 7)
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


def test_a_small_start_is_almost_zero_but_learns():
    """The remainder of a normal value after division by 2, times 1e-4."""
    adapter = channel_adapter(8, 8, kernel=3, start="small")
    weights = adapter.weight.detach().flatten()
    assert 0 < weights.abs().max() <= 2 * SMALL_START
    # values within -2..2 have 0.74 of a normal value's variance, the others are folded to near 0
    assert weights.std().item() == pytest.approx(0.87 * SMALL_START, rel=0.1)
    adapter(torch.randn(1, 8, 4, 4)).sum().backward()
    assert adapter.weight.grad.any()


def test_region_adapter_only_where_widths_differ():
    features = torch.rand(2, 4, 3, 3)
    assert region_adapter(4, 4)(features) is features
    assert region_adapter(4, 6)(features).shape == (2, 6, 3, 3)
    assert region_adapter(4, 2)(features).shape == (2, 2, 3, 3)


def test_a_pair_without_levels_is_refused(toy):
    with pytest.raises(ValueError, match="needs FPN levels that student and teacher share"):
        level_adapters(toy.context(levels=()))
