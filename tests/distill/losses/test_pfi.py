"""Tests of graphkd/distill/losses/pfi.py."""

from dataclasses import replace

import pytest
import torch

from graphkd.distill.losses.levels import LevelPair
from graphkd.distill.losses.pfi import PFI, guided_error
from graphkd.errors import UserError


def pair_of(student, teacher):
    return LevelPair("p3", student, teacher, 8)


@pytest.mark.parametrize("two_stage", [True, False])
def test_zero_where_student_equals_teacher(toy, two_stage):
    same = toy.outputs(0, two_stage=two_stage)
    assert PFI(toy.context(two_stage=two_stage))(same, same, toy.targets())["features"] == 0


def test_hand_worked_number():
    """Squared gaps of features (4, 1) and scores (1/4, 1): products (1, 1); and then (1, 0)."""
    features = torch.tensor([2.0, 1.0]).reshape(1, 1, 1, 2)
    scores = torch.tensor([0.5, 1.0]).reshape(1, 1, 1, 2)
    pair = pair_of(features, torch.zeros_like(features))

    def term(divisor):
        return guided_error(pair, scores, torch.zeros_like(scores), divisor=divisor).item()

    assert term("cells") == pytest.approx(2**0.5 / 2)
    assert term("root") == pytest.approx(1)
    scores[..., 1] = 0
    assert term("cells") == pytest.approx(1 / 2)
    assert term("root") == pytest.approx((1 / 2) ** 0.5)


def test_the_papers_formula(toy):
    """1 / (H W) times the norm of the products, a mean over images and a sum over levels."""
    student, teacher = toy.outputs(1), toy.outputs(2)
    expected = 0.0
    for level, name in enumerate(toy.levels):
        own, other = student.features[name], teacher.features[name]
        height, width = own.shape[-2:]
        scores = [each.dense.logits[level].sigmoid() for each in (student, teacher)]
        for image in range(2):
            squares = 0.0
            for row in range(height):
                for column in range(width):
                    place = (image, slice(None), row, column)
                    gap = (scores[0][place] - scores[1][place]).square().mean()
                    squares += (gap * (own[place] - other[place]).square().mean()).item() ** 2
            expected += squares**0.5 / (height * width) / 2
    term = PFI(toy.context())(student, teacher, toy.targets())["features"]
    assert term.item() == pytest.approx(expected, rel=1e-4)


def test_features_are_free_where_predictions_agree(toy):
    """Where both networks score alike, no feature gap costs anything."""
    student, teacher = toy.outputs(1), toy.outputs(2)
    agreeing = replace(student, dense=teacher.dense)
    loss, targets = PFI(toy.context()), toy.targets()
    assert loss(agreeing, teacher, targets)["features"] == 0
    assert loss(student, teacher, targets)["features"] > 0


def test_the_area_of_a_level():
    """Five times as large both ways: a fifth with the paper's divisor, the same with ours."""
    maps = torch.randn(2, 1, 3, 4, 4)
    scores = torch.rand(2, 1, 2, 4, 4)
    for divisor, growth in (("root", 1), ("cells", 1 / 5)):
        small = guided_error(pair_of(*maps), *scores, divisor=divisor)
        wide = scores.repeat(1, 1, 1, 5, 5)
        large = guided_error(pair_of(*maps.repeat(1, 1, 1, 5, 5)), *wide, divisor=divisor)
        torch.testing.assert_close(large, growth * small)


def test_equal_networks_have_a_finite_slope():
    maps = torch.ones(1, 2, 2, 2, requires_grad=True)
    scores = torch.ones(1, 1, 2, 2)
    guided_error(pair_of(maps, maps.detach()), scores, scores, divisor="cells").backward()
    assert torch.isfinite(maps.grad).all()


def test_the_mask_keeps_the_cells_of_objects(toy):
    """Products (1, 1) of which one is in a box: the norm is 1 over 1 cell."""
    features = torch.tensor([2.0, 1.0]).reshape(1, 1, 1, 2)
    scores = torch.tensor([0.5, 1.0]).reshape(1, 1, 1, 2)
    pair, zeros = pair_of(features, torch.zeros_like(features)), torch.zeros_like(scores)
    mask = torch.tensor([True, False]).reshape(1, 1, 2)
    for divisor in ("cells", "root"):
        assert guided_error(pair, scores, zeros, divisor=divisor, mask=mask).item() == 1
        assert guided_error(pair, scores, zeros, divisor=divisor, mask=~mask | mask) > 0.7
    assert guided_error(pair, scores, zeros, divisor="cells", mask=mask & False) == 0
    loss = PFI(toy.context(), mask="objects")
    assert loss.reads == {"boxes"} and not PFI(toy.context()).reads
    student, teacher = toy.outputs(1), toy.outputs(2)
    assert loss(student, teacher, toy.targets())["features"] > 0
    assert loss(student, teacher, toy.targets(empty=True))["features"] == 0


def test_heads_with_other_anchors_are_refused(toy):
    student, teacher = toy.outputs(1), toy.outputs(2)
    wider = tuple(torch.cat([each, each], 1) for each in teacher.dense.logits)
    teacher = replace(teacher, dense=replace(teacher.dense, logits=wider))
    with pytest.raises(UserError, match="same anchors"):
        PFI(toy.context())(student, teacher, toy.targets())


def test_one_stage_refuses_other_classes(toy):
    with pytest.raises(ValueError, match="class lists"):
        PFI(toy.context(two_stage=False, same_classes=False))
