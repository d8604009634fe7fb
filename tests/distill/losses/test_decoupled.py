"""Tests of graphkd/distill/losses/decoupled.py."""

import math
from dataclasses import replace

import pytest
import torch

from graphkd.distill.losses.decoupled import (
    Decoupled,
    masked_error,
    object_cells,
    object_masks,
    own_levels,
)
from graphkd.distill.losses.levels import LevelPair
from graphkd.distill.outputs import Outputs, Regions


def levels(*sizes, stride=4):
    """Empty levels of the given (h, w), each twice as coarse as the last."""
    return [
        LevelPair(f"p{i}", torch.zeros(1, 1, *size), torch.zeros(1, 1, *size), stride * 2**i)
        for i, size in enumerate(sizes)
    ]


def released_mask(boxes, *, strides, sizes):
    """Per level the mask that the released code draws for one image, box by box."""
    masks = [torch.zeros(size, dtype=torch.bool) for size in sizes]
    for x0, y0, x1, y1 in boxes.tolist():
        scale = math.sqrt((x1 - x0 + 1) * (y1 - y0 + 1))
        level = math.floor(math.log2(scale / (14 * strides[0]) + 1e-6))
        level = min(max(level, 0), len(sizes) - 1)
        (height, width), stride = sizes[level], strides[level]
        left, right = int(x0 / stride), min(int(x1 / stride), width)
        top, bottom = int(y0 / stride), min(int(y1 / stride), height)
        if left == right or top == bottom:
            masks[level][top, left] = True
        else:
            masks[level][top:bottom, left:right] = True
    return masks


def test_masks_are_those_of_the_release():
    draw = torch.Generator().manual_seed(0)
    corner = torch.rand(60, 2, generator=draw) * torch.tensor([500.0, 380.0])
    sides = torch.rand(60, 2, generator=draw) ** 3 * 500
    boxes = torch.cat([corner, corner + sides], 1).clamp(max=399)
    sizes, strides = [(100, 128), (50, 64), (25, 32), (13, 16)], [4, 8, 16, 32]
    found = object_masks((boxes,), levels(*sizes))
    released = released_mask(boxes, strides=strides, sizes=sizes)
    for own, expected in zip(found, released, strict=True):
        assert torch.equal(own[0], expected)
    assert sum(mask.sum() > 0 for mask in found) >= 3


def test_a_box_without_a_cell_gets_that_of_its_first_corner():
    boxes = torch.tensor([[9.0, 9.0, 15.0, 30.0], [32.0, 24.0, 32.0, 24.0]])
    cells = object_cells(boxes, stride=8, size=(3, 4))
    assert [each.nonzero().tolist() for each in cells] == [[[1, 1]], [[2, 3]]]


@pytest.mark.parametrize(
    ("side", "level"), [(10, 0), (110, 0), (111, 1), (222, 1), (223, 2), (447, 3), (5000, 3)]
)
def test_a_box_of_223_lies_on_p4(side, level):
    """224 with the pixel that the release adds to both sides."""
    box = torch.tensor([[0.0, 0.0, side, side]])
    assert own_levels(box, num_levels=4, finest_stride=4).tolist() == [level]


def test_levels_follow_the_finest_stride():
    """A one-stage detector starts at p3, so the same box has an index one lower."""
    box = torch.tensor([[0.0, 0.0, 300.0, 300.0]])
    assert own_levels(box, num_levels=4, finest_stride=8).tolist() == [1]
    assert own_levels(box[:0], num_levels=4, finest_stride=8).shape == (0,)


def test_zero_where_student_equals_teacher(toy):
    same = toy.outputs(0)
    terms = Decoupled(toy.context(), start="identity")(same, same, toy.targets())
    assert set(terms) == {"object", "background", "object_class", "background_class"}
    for value in terms.values():
        assert value.item() == pytest.approx(0, abs=1e-6)


def test_a_box_marks_its_own_level_alone():
    """100 x 100 belongs to the first level (stride 4), 150 x 150 to the second."""
    pairs = levels((40, 40), (20, 20))
    small = torch.tensor([[0.0, 0.0, 100.0, 100.0]])
    large = torch.tensor([[0.0, 0.0, 150.0, 150.0]])
    fine, coarse = object_masks((small, large), pairs)
    assert fine.sum((1, 2)).tolist() == [25 * 25, 0]
    assert coarse.sum((1, 2)).tolist() == [0, 18 * 18]


def test_hand_worked_number():
    """Errors 1 and 9 on two masked cells in one of two channels: (1 + 9) / 2 channels / (2 * 2)."""
    student = torch.zeros(1, 2, 1, 3)
    student[0, 0] = torch.tensor([1.0, 3.0, 50.0])
    pair = LevelPair("p3", student, torch.zeros_like(student), 8)
    mask = torch.tensor([[[True, True, False]]])
    assert masked_error(pair, mask).item() == pytest.approx(10 / 2 / 4)
    assert masked_error(pair, ~mask).item() == pytest.approx(2500 / 2 / 2)


def test_few_object_cells_weigh_as_much_as_many_background_cells(toy):
    """The same gap everywhere costs half of each weight on a level, at any area."""
    teacher = toy.outputs(0)
    student = toy.change(teacher, lambda tensor: tensor + 1)
    loss = Decoupled(toy.context(), object_weight=3, background_weight=5, start="identity")
    terms = loss(student, teacher, toy.targets())
    # both boxes are smaller than 224 pixels, so p3 alone of four levels has objects
    assert terms["object"].item() == pytest.approx(3 / 2 / 4, abs=1e-4)
    assert terms["background"].item() == pytest.approx(5 / 2, abs=1e-4)


def test_objects_and_background_are_apart(toy):
    """A change on an object's cells moves the object term alone."""
    student, teacher, targets = toy.outputs(1), toy.outputs(2), toy.targets()
    moved = {name: each.clone() for name, each in student.features.items()}
    moved["p3"][..., 1:4, 1:5] += 3  # the box 8..40 x 8..32
    loss = Decoupled(toy.context(), start="identity")
    before = loss(student, teacher, targets)
    after = loss(replace(student, features=moved), teacher, targets)
    assert after["object"] != before["object"]
    assert after["background"] == before["background"]


def test_adapters_are_there_at_equal_widths_too(toy):
    loss = Decoupled(toy.context())
    sum(loss(toy.outputs(1), toy.outputs(2), toy.targets()).values()).backward()
    weights = [adapter.weight for adapter in loss.adapters.values()]
    assert [weight.shape for weight in weights] == [(8, 8, 3, 3)] * 4
    assert all(weight.grad.any() for weight in weights)
    # the release starts them at almost 0
    assert all(weight.abs().max() < 3e-4 for weight in weights)


def test_class_terms_by_hand(toy):
    """One foreground region of KL a, two background regions of KL a and 0; weights of 2."""
    a = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    maps = toy.outputs(0, images=1).features
    sampled = Regions((torch.zeros(3, 4),), torch.zeros(3, 1, 1, 1), torch.zeros(3, 2))
    sure = torch.tensor([math.log(3), 0.0])
    surer = replace(sampled, logits=torch.stack([sure, sure, torch.zeros(2)]))
    targets = replace(toy.targets(images=1), num_classes=1, region_labels=torch.tensor([0, 1, 1]))
    pair = Outputs(maps, regions=sampled), Outputs(maps, regions=surer)
    terms = Decoupled(toy.context())(*pair, targets)
    assert terms["object_class"].item() == pytest.approx(2 * a)
    assert terms["background_class"].item() == pytest.approx(2 * a / 2)


@pytest.mark.parametrize("changes", [{"same_classes": False}, {"two_stage": False}])
def test_class_terms_can_be_left_out(toy, changes):
    facts = toy.context(**changes)
    with pytest.raises(ValueError, match="OBJECT_CLASS_WEIGHT"):
        Decoupled(facts)
    loss = Decoupled(facts, object_class_weight=0, background_class_weight=0)
    assert loss.needs == {"features"}
    terms = loss(toy.outputs(1), toy.outputs(2), toy.targets())
    assert set(terms) == {"object", "background"}
