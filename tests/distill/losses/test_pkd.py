"""Tests of graphkd/distill/losses/pkd.py."""

import pytest
import torch

from graphkd.distill.losses.pkd import PKD
from tests.distill.losses import map_pages


def test_zero_where_student_equals_teacher(toy):
    same = toy.outputs(0)
    term = PKD(toy.context())(same, same, toy.targets())["features"]
    assert term.item() == pytest.approx(0, abs=1e-5)


def test_scale_and_offset_of_a_channel_do_not_count(toy):
    """Any positive scale and any offset a channel of the student's map leave the term."""
    loss, teacher, targets = PKD(toy.context()), toy.outputs(2), toy.targets()
    student = toy.outputs(1)
    draw = torch.Generator().manual_seed(3)
    scale = 0.5 + 3 * torch.rand(1, 8, 1, 1, generator=draw)
    offset = 5 * torch.randn(1, 8, 1, 1, generator=draw)
    moved = {name: each * scale + offset for name, each in student.features.items()}
    changed = type(student)(features=moved)
    plain, affine = loss(student, teacher, targets), loss(changed, teacher, targets)
    torch.testing.assert_close(affine, plain, rtol=1e-4, atol=1e-5)
    assert plain["features"] > 0.5


def test_only_the_finest_levels_count(toy):
    student, teacher = toy.outputs(1), toy.outputs(2)
    other = dict(student.features, p6=student.features["p6"].flip(3))
    moved = type(student)(features=other)
    loss, every = PKD(toy.context(), levels=3), PKD(toy.context())
    targets = toy.targets()
    assert loss(student, teacher, targets) == loss(moved, teacher, targets)
    assert every(student, teacher, targets) != every(moved, teacher, targets)


def test_refuses_no_levels(toy):
    with pytest.raises(ValueError, match="LEVELS"):
        PKD(toy.context(), levels=0)


def test_text_maps_are_compared_inside_the_mask():
    student, teacher, truth = map_pages.outputs(1), map_pages.outputs(2), map_pages.targets()
    pair = torch.stack([each.maps["text"][..., :80].flatten() for each in (student, teacher)])
    found = PKD(map_pages.context(), maps="text")(student, teacher, truth)
    torch.testing.assert_close(found, {"text": 1 - torch.corrcoef(pair)[0, 1]}, atol=1e-5, rtol=0)
