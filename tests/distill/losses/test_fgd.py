"""Tests of graphkd/distill/losses/fgd.py."""

import math

import pytest
import torch

from graphkd.distill.losses.fgd import (
    FGD,
    GlobalContext,
    attention_term,
    channel_attention,
    focal_terms,
    foreground_weights,
    spatial_attention,
)
from graphkd.distill.losses.levels import LevelPair

BOX = torch.tensor([[0.0, 0.0, 16.0, 8.0]])


def pair_of(student, teacher):
    return LevelPair("p3", student, teacher, 8)


def test_zero_where_student_equals_teacher(toy):
    """Context blocks start as the identity, so the context term is zero as well."""
    same = toy.outputs(0)
    terms = FGD(toy.context())(same, same, toy.targets())
    assert set(terms) == {"foreground", "background", "attention", "context"}
    assert all(value == 0 for value in terms.values())


def released_foreground(boxes, *, stride, size):
    """The foreground mask of one image as the released code draws it, box by box."""
    mask = torch.zeros(size)
    for x0, y0, x1, y1 in (boxes / stride).tolist():
        left, right = math.floor(x0), math.ceil(x1)
        top, bottom = math.floor(y0), math.ceil(y1)
        share = 1.0 / (bottom + 1 - top) / (right + 1 - left)
        part = mask[top : bottom + 1, left : right + 1]
        part.copy_(part.clamp(min=share))
    return mask


def test_foreground_is_that_of_the_release():
    draw = torch.Generator().manual_seed(0)
    corner = torch.rand(20, 2, generator=draw) * 100
    boxes = torch.cat([corner, corner + 40 * torch.rand(20, 2, generator=draw)], 1)
    found = foreground_weights(boxes, stride=8, size=(16, 16))
    torch.testing.assert_close(found, released_foreground(boxes, stride=8, size=(16, 16)))


def test_the_last_column_and_row_of_a_box_count_too():
    """A box of 2 x 1 cells has 3 x 2 cells of 1/6; the smaller box wins where two overlap."""
    weights = foreground_weights(BOX, stride=8, size=(4, 4))
    assert weights.count_nonzero() == 6 and weights.sum().item() == pytest.approx(1)
    small = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    weights = foreground_weights(torch.cat([BOX, small]), stride=8, size=(4, 4))
    torch.testing.assert_close(weights[0, :3], torch.tensor([1 / 4, 1 / 4, 1 / 6]))
    assert not foreground_weights(BOX[:0], stride=8, size=(4, 4)).any()


def test_attentions_have_mean_one():
    maps = torch.randn(2, 5, 4, 6)
    spatial = spatial_attention(maps, temperature=0.5)
    channel = channel_attention(maps, temperature=0.5)
    assert (spatial.shape, channel.shape) == ((2, 1, 4, 6), (2, 5, 1, 1))
    torch.testing.assert_close(spatial.mean((1, 2, 3)), torch.ones(2))
    torch.testing.assert_close(channel.mean((1, 2, 3)), torch.ones(2))


def test_focal_terms_by_hand():
    """A flat teacher has attention 1 everywhere. Gap 2 in 3 channels: 3 * 4 inside and outside."""
    teacher = torch.ones(1, 3, 4, 4)
    foreground, background = focal_terms(pair_of(teacher + 2, teacher), (BOX,), temperature=0.5)
    assert foreground.item() == pytest.approx(12)
    assert background.item() == pytest.approx(12)


def test_objects_of_any_size_weigh_the_same():
    teacher = torch.ones(1, 3, 8, 8)
    pair = pair_of(teacher + 2, teacher)
    apart = torch.tensor([[0.0, 0.0, 16.0, 8.0], [32.0, 24.0, 56.0, 56.0]])
    foreground, _ = focal_terms(pair, (apart,), temperature=0.5)
    assert foreground.item() == pytest.approx(2 * 12)


def test_objects_and_background_are_apart():
    teacher = torch.ones(1, 1, 4, 4)
    inside = torch.ones(1, 1, 4, 4)
    inside[..., :2, :3] += 3
    foreground, background = focal_terms(pair_of(inside, teacher), (BOX,), temperature=0.5)
    assert foreground.item() == pytest.approx(9)
    assert background == 0


def test_the_teachers_attention_decides_where():
    """An equal gap in two cells costs more in the cell that the teacher looks at."""
    teacher = torch.zeros(1, 1, 1, 2)
    teacher[..., 0] = 1
    gap = torch.zeros_like(teacher)
    gap[..., 0] = 1
    none = (torch.zeros(0, 4),)
    _, looked = focal_terms(pair_of(teacher + gap, teacher), none, temperature=0.5)
    _, other = focal_terms(pair_of(teacher + gap.flip(3), teacher), none, temperature=0.5)
    # softmax of (1, 0) / 0.5
    assert (looked / other).item() == pytest.approx(torch.tensor(2.0).exp().item(), rel=1e-4)


def test_a_box_over_the_whole_map_leaves_no_background():
    teacher = torch.ones(1, 1, 2, 2)
    whole = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    _, background = focal_terms(pair_of(teacher + 1, teacher), (whole,), temperature=0.5)
    assert background == 0


def test_attention_term_by_hand():
    """Flat student (1, 1) against shares (s, 1-s) times 2 cells: a mean gap of |2s - 1|."""
    teacher = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    student = torch.zeros(1, 1, 1, 2)
    share = torch.tensor([2.0, 0.0]).softmax(0)[0]
    term = attention_term(pair_of(student, teacher), temperature=0.5, cells=10, width=4)
    torch.testing.assert_close(term, 10 * (2 * share - 1))


def test_terms_do_not_grow_with_the_area(toy):
    """Maps repeated four times in both directions change nothing outside of objects."""
    student, teacher = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    small = pair_of(student, teacher)
    large = LevelPair(
        "p3",
        *(each.repeat_interleave(4, 2).repeat_interleave(4, 3) for each in (student, teacher)),
        stride=2,
    )
    for function, options in (
        (focal_terms, {"boxes": (BOX[:0],)}),
        (attention_term, {"cells": 100, "width": 1}),
    ):
        before, after = [function(each, temperature=0.5, **options) for each in (small, large)]
        torch.testing.assert_close(after, before)


def test_width_does_not_change_the_terms(toy):
    """Channels repeated on both sides leave every term as it is."""

    def terms(times):
        width = 8 * times
        facts = toy.context(student_channels=width, teacher_channels=width)
        pair = [
            toy.change(toy.outputs(seed), lambda tensor: tensor.repeat_interleave(times, 1))
            for seed in (1, 2)
        ]
        return FGD(facts)(*pair, toy.targets())

    narrow, wide = terms(1), terms(4)
    for name, value in narrow.items():
        torch.testing.assert_close(wide[name], value, rtol=1e-4, atol=0)


def test_context_term_weighs_as_the_papers_sum(toy):
    """A gap of 1 everywhere: LAMBDA times 256 channels times the cells of p2 to p5."""
    teacher = toy.outputs(0)
    student = toy.change(teacher, lambda tensor: tensor + 1)
    term = FGD(toy.context())(student, teacher, toy.targets())["context"]
    assert term.item() == pytest.approx(5e-7 * 256 * 89250, rel=1e-4)


def test_context_block_attends_over_the_map():
    block = GlobalContext(4)
    maps = torch.randn(2, 4, 3, 5)
    assert torch.equal(block(maps), maps)
    torch.nn.init.normal_(block.transform[-1].weight)
    added = block(maps) - maps
    torch.testing.assert_close(added, added[..., :1, :1].expand_as(added), atol=1e-5, rtol=1e-5)
    assert added.abs().max() > 0


def test_published_factors_follow_the_kind_of_detector(toy):
    assert FGD(toy.context()).factors["alpha"] == 5e-5
    assert FGD(toy.context(two_stage=False)).factors["alpha"] == 1e-3
    assert FGD(toy.context(), alpha="1e-4").factors["alpha"] == 1e-4
