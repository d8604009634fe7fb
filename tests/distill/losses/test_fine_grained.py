"""Tests of graphkd/distill/losses/fine_grained.py."""

from dataclasses import replace

import pytest
import torch

from graphkd.distill.losses.fine_grained import FineGrained, imitation, near_object_cells
from graphkd.distill.losses.levels import LevelPair


def row_of_anchors(count, *, side=10.0):
    """Unit cells of 10 pixels in a row, one anchor each, (1, count, 1, 4)."""
    left = torch.arange(count) * side
    boxes = torch.stack([left, torch.zeros(count), left + side, torch.full((count,), side)], 1)
    return boxes.reshape(1, count, 1, 4)


def test_zero_where_student_equals_teacher(toy):
    same = toy.outputs(0)
    assert FineGrained(toy.context(), start="identity")(same, same, toy.targets())["features"] == 0


def test_cells_near_an_object():
    """The box covers cell 1 and 60 % of cell 2: IoU 10/16 and 6/20; the ratio of them is 0.48."""
    box = torch.tensor([[10.0, 0.0, 26.0, 10.0]])
    grid = row_of_anchors(4)
    assert near_object_cells(box, [grid], ratio=0.5)[0].tolist() == [[False, True, False, False]]
    assert near_object_cells(box, [grid], ratio=0.4)[0].tolist() == [[False, True, True, False]]


def test_the_best_anchor_is_sought_on_all_levels():
    """A coarse level with a perfect anchor leaves none of the poor anchors of the fine level."""
    box = torch.tensor([[0.0, 0.0, 30.0, 10.0]])
    coarse = torch.tensor([0.0, 0.0, 30.0, 10.0]).reshape(1, 1, 1, 4)
    fine, whole = near_object_cells(box, [row_of_anchors(3), coarse], ratio=0.5)
    assert fine.sum() == 0
    assert whole.all()
    assert near_object_cells(box, [row_of_anchors(3)], ratio=0.5)[0].all()


def test_an_object_away_from_all_anchors_has_no_cells():
    far = torch.tensor([[500.0, 500.0, 510.0, 510.0]])
    assert not near_object_cells(far, [row_of_anchors(3)], ratio=0.5)[0].any()
    assert not near_object_cells(far[:0], [row_of_anchors(3)], ratio=0.5)[0].any()


def test_hand_worked_number():
    """Two masked cells on two levels with errors 1 + 4 and 9 over 2 channels: 14 / (2 * 2)."""
    fine = torch.zeros(1, 2, 1, 2)
    fine[0, :, 0, 0] = torch.tensor([1.0, 2.0])
    fine[0, :, 0, 1] = 100.0
    coarse = torch.tensor([3.0, 0.0]).reshape(1, 2, 1, 1)
    pairs = [
        LevelPair("p3", fine, torch.zeros_like(fine), 8),
        LevelPair("p4", coarse, torch.zeros_like(coarse), 16),
    ]
    masks = [torch.tensor([[[True, False]]]), torch.tensor([[[True]]])]
    assert imitation(pairs, masks).item() == pytest.approx(14 / 4)


def test_adapters_are_there_at_equal_widths_too(toy):
    loss = FineGrained(toy.context())
    loss(toy.outputs(1), toy.outputs(2), toy.targets())["features"].backward()
    assert loss.adapters["p3"].weight.shape == (8, 8, 3, 3)
    assert loss.adapters["p3"].weight.grad.any()
    # the release starts them at almost 0
    assert loss.adapters["p3"].weight.abs().max() < 3e-4


def test_width_does_not_change_the_term(toy):
    """The same gap everywhere on wide and on narrow maps."""

    def term(width):
        facts = toy.context(student_channels=width, teacher_channels=width)
        teacher = toy.outputs(0, channels=width)
        student = toy.change(teacher, lambda tensor: tensor + 1)
        loss = FineGrained(facts, start="identity")
        return loss(student, teacher, toy.targets())["features"].item()

    assert term(4) == pytest.approx(term(16), rel=1e-4)
    assert term(4) == pytest.approx(256 / 2, rel=1e-4)


def test_pages_without_objects_leave_the_mean(toy):
    loss = FineGrained(toy.context(), start="identity")
    student, teacher = toy.outputs(1), toy.outputs(2)
    full = toy.targets()
    half = replace(full, boxes=(full.boxes[0], full.boxes[0][:0]))
    first = toy.change(student, lambda tensor: tensor[:1])
    first = loss(first, toy.change(teacher, lambda tensor: tensor[:1]), toy.targets(images=1))
    torch.testing.assert_close(loss(student, teacher, half), first)


def test_far_cells_do_not_count(toy):
    """Features at the bottom right, away from the only box at the top left, are free."""
    targets = toy.targets()
    targets = replace(targets, boxes=(torch.tensor([[0.0, 0.0, 30.0, 24.0]]),) * 2)
    student, teacher = toy.outputs(1), toy.outputs(2)
    moved = {name: each.clone() for name, each in student.features.items()}
    moved["p3"][..., 8:, 8:] += 5
    loss = FineGrained(toy.context(), start="identity")
    changed = replace(student, features=moved)
    assert loss(student, teacher, targets) == loss(changed, teacher, targets)
    moved["p3"][..., :3, :3] += 5
    assert loss(student, teacher, targets) != loss(changed, teacher, targets)


def test_a_task_without_anchors_is_refused(toy):
    with pytest.raises(ValueError, match="needs a detector with anchors"):
        FineGrained(toy.context(same_anchors=None))
