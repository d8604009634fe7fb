"""Tests of graphkd/distill/losses/pkd.py."""

import pytest
import torch

from graphkd.distill.losses.pkd import PKD, pearson_distance


def test_zero_where_student_equals_teacher(toy):
    same = toy.outputs(0)
    term = PKD(toy.context())(same, same, toy.targets())["features"]
    assert term.item() == pytest.approx(0, abs=1e-5)


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


def test_flat_channels_have_a_finite_slope():
    student = torch.ones(1, 2, 3, 3, requires_grad=True)
    pearson_distance(student, torch.randn(1, 2, 3, 3)).backward()
    assert torch.isfinite(student.grad).all()


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
