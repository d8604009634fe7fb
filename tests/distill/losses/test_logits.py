"""Tests of graphkd/distill/losses/logits.py."""

import math
from dataclasses import replace

import pytest
import torch

from graphkd.distill.losses.functional import bernoulli_kl
from graphkd.distill.losses.logits import Logits, Proposals, dense_terms, region_terms
from graphkd.distill.outputs import Dense, Outputs, Regions
from tests.distill.losses import map_pages


def one_region(logits, deltas):
    return Regions(
        boxes=(torch.tensor([[0.0, 0.0, 4.0, 4.0]]),),
        features=torch.zeros(1, 1, 1, 1),
        logits=torch.tensor([logits]),
        deltas=torch.tensor([deltas]),
    )


def label(toy, value, *, num_classes):
    return replace(
        toy.targets(images=1, regions=1),
        num_classes=num_classes,
        region_labels=torch.tensor([value]),
    )


@pytest.mark.parametrize("two_stage", [True, False])
def test_zero_where_student_equals_teacher(toy, two_stage):
    same = toy.outputs(0, two_stage=two_stage)
    terms = Logits(toy.context(two_stage=two_stage), temperature=2)(same, same, toy.targets())
    assert terms["boxes"] == 0
    assert terms["classes"].item() == pytest.approx(0, abs=1e-6)


def test_hand_worked_class_number(toy):
    """P_T = (3/4, 1/4), P_S = (1/2, 1/2): KL = 3/4 ln(3/2) + 1/4 ln(1/2); no boxes: background."""
    student = one_region([0.0, 0.0], [1.0, 1.0, 1.0, 1.0])
    teacher = one_region([math.log(3), 0.0], [0.0, 0.0, 0.0, 0.0])
    classes, boxes = region_terms(student, teacher, label(toy, 1, num_classes=1), temperature=1)
    assert classes.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert boxes == 0


def test_temperature_softens_and_rescales(toy):
    student = one_region([0.0, 0.0], [0.0] * 4)
    teacher = one_region([2 * math.log(3), 0.0], [0.0] * 4)
    classes, _ = region_terms(student, teacher, label(toy, 1, num_classes=1), temperature=2)
    assert classes.item() == pytest.approx(4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5)))


def test_only_the_deltas_of_the_labelled_class_count(toy):
    student = one_region([0.0] * 3, [9.0, 9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 4.0])
    teacher = one_region([0.0] * 3, [0.0] * 8)
    _, boxes = region_terms(student, teacher, label(toy, 1, num_classes=2), temperature=1)
    assert boxes.item() == pytest.approx(2.5)


def test_class_agnostic_deltas_meet_class_specific_ones(toy):
    student = one_region([0.0] * 3, [1.0, 2.0, 3.0, 4.0])
    teacher = one_region([0.0] * 3, [9.0, 9.0, 9.0, 9.0, 1.0, 1.0, 1.0, 1.0])
    _, boxes = region_terms(student, teacher, label(toy, 1, num_classes=2), temperature=1)
    assert boxes.item() == pytest.approx((0 + 1 + 2 + 3) / 4)


def test_every_image_weighs_the_same(toy):
    """One image with 1 region of KL a and one with 3 regions of KL 0 give a / 2, not a / 4."""
    a = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    teacher_logits = torch.zeros(4, 2)
    teacher_logits[0, 0] = math.log(3)
    boxes = (torch.rand(1, 4), torch.rand(3, 4))
    student = Regions(boxes, torch.zeros(4, 1, 1, 1), torch.zeros(4, 2), torch.zeros(4, 4))
    teacher = replace(student, logits=teacher_logits)
    targets = replace(toy.targets(), num_classes=1, region_labels=torch.tensor([1, 1, 1, 1]))
    classes, _ = region_terms(student, teacher, targets, temperature=1)
    assert classes.item() == pytest.approx(a / 2)


def test_one_stage_hand_worked_number():
    """One anchor the teacher gives 3/4, the student 1/2; the divisor is at least 1."""
    student = Dense(logits=(torch.zeros(1, 1, 1, 1),), deltas=(torch.zeros(1, 4, 1, 1),))
    teacher = Dense(
        logits=(torch.full((1, 1, 1, 1), math.log(3)),), deltas=(torch.ones(1, 4, 1, 1),)
    )
    classes, boxes = dense_terms(student, teacher, num_classes=1, temperature=1)
    expected = 0.75 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert classes.item() == pytest.approx(expected)
    assert boxes.item() == pytest.approx(0.75)


def test_one_stage_term_does_not_grow_with_empty_anchors():
    """A hundred times more cells that the teacher calls empty leave the term where it was."""

    def pair(cells):
        teacher = torch.full((1, 1, 1, cells), -30.0)
        teacher[..., :2] = 8.0
        deltas = torch.zeros(1, 4, 1, cells)
        return Dense((torch.zeros_like(teacher),), (deltas + 1,)), Dense((teacher,), (deltas,))

    few = dense_terms(*pair(10), num_classes=1, temperature=1)
    many = dense_terms(*pair(1000), num_classes=1, temperature=1)
    torch.testing.assert_close(few, many, rtol=1e-4, atol=1e-5)


def test_regression_weight_scales_the_boxes_alone(toy):
    student, teacher, targets = toy.outputs(0), toy.outputs(1), toy.targets()
    one = Logits(toy.context())(student, teacher, targets)
    two = Logits(toy.context(), regression_weight=2)(student, teacher, targets)
    torch.testing.assert_close(two["boxes"], 2 * one["boxes"])
    torch.testing.assert_close(two["classes"], one["classes"])


def test_refuses_a_temperature_of_zero(toy):
    with pytest.raises(ValueError, match="TEMPERATURE"):
        Logits(toy.context(), temperature=0)


def anchor(objectness, delta) -> Outputs:
    """An RPN of one level with one anchor."""
    dense = Dense(
        logits=(torch.full((1, 1, 1, 1), objectness),), deltas=(torch.full((1, 4, 1, 1), delta),)
    )
    return Outputs(features={}, dense=dense)


def test_proposals_are_zero_where_student_equals_teacher(toy):
    same = toy.outputs(0)
    terms = Proposals(toy.context())(same, same, toy.targets())
    assert terms["boxes"] == 0 and terms["objectness"].item() == pytest.approx(0, abs=1e-6)


def test_proposals_by_hand(toy):
    """One anchor the teacher gives 3/4, the student 1/2; the divisor is at least 1."""
    pair = anchor(0.0, 0.0), anchor(math.log(3), 2.0)
    terms = Proposals(toy.context(), regression_weight=0.5)(*pair, toy.targets())
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert terms["objectness"].item() == pytest.approx(0.75 * kl)
    assert terms["boxes"].item() == pytest.approx(0.5 * 0.75 * 2)


def test_proposals_of_other_classes(toy):
    pair = toy.outputs(0), toy.outputs(1)
    alike = Proposals(toy.context())(*pair, toy.targets())
    other = Proposals(toy.context(same_classes=False))(*pair, replace(toy.targets(), num_classes=9))
    assert alike == other


def test_proposals_read_no_regions_and_no_ground_truth(toy):
    student, teacher = (replace(toy.outputs(seed), regions=None) for seed in (0, 1))
    full = Proposals(toy.context())(student, teacher, toy.targets())
    assert full == Proposals(toy.context())(student, teacher, toy.targets(empty=True))


def test_text_maps_by_hand():
    student, teacher, truth = map_pages.outputs(1), map_pages.outputs(2), map_pages.targets()
    maps = student.maps["text"], teacher.maps["text"]
    divergence = bernoulli_kl(*maps, temperature=2)
    text, mask = truth.maps["text"] > 0, truth.maps["mask"] > 0
    found = Logits(map_pages.context(), temperature=2)(student, teacher, truth)
    torch.testing.assert_close(found, {"text": divergence[mask].mean()})
    halves = divergence[mask & text].mean(), divergence[mask & ~text].mean()
    found = Logits(map_pages.context(), temperature=2, balanced=True)(student, teacher, truth)
    torch.testing.assert_close(found, {"text": sum(halves) / 2})
