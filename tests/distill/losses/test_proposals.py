"""Tests of graphkd/distill/losses/proposals.py."""

import math
from dataclasses import replace

import pytest
import torch

from graphkd.distill.losses.proposals import Proposals
from graphkd.distill.outputs import Dense, Outputs


def anchor(objectness, delta) -> Outputs:
    """An RPN of one level with one anchor."""
    dense = Dense(
        logits=(torch.full((1, 1, 1, 1), objectness),), deltas=(torch.full((1, 4, 1, 1), delta),)
    )
    return Outputs(features={}, dense=dense)


def test_zero_where_student_equals_teacher(toy):
    same = toy.outputs(0)
    terms = Proposals(toy.context())(same, same, toy.targets())
    assert terms["boxes"] == 0 and terms["objectness"].item() == pytest.approx(0, abs=1e-6)


def test_hand_worked_number(toy):
    """One anchor the teacher gives 3/4, the student 1/2; the divisor is at least 1."""
    pair = anchor(0.0, 0.0), anchor(math.log(3), 2.0)
    terms = Proposals(toy.context(), regression_weight=0.5)(*pair, toy.targets())
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert terms["objectness"].item() == pytest.approx(0.75 * kl)
    assert terms["boxes"].item() == pytest.approx(0.5 * 0.75 * 2)


def test_classes_of_teacher_and_student_may_differ(toy):
    pair = toy.outputs(0), toy.outputs(1)
    alike = Proposals(toy.context())(*pair, toy.targets())
    other = Proposals(toy.context(same_classes=False))(*pair, replace(toy.targets(), num_classes=9))
    assert alike == other


def test_regions_and_ground_truth_are_not_read(toy):
    student, teacher = (replace(toy.outputs(seed), regions=None) for seed in (0, 1))
    full = Proposals(toy.context())(student, teacher, toy.targets())
    assert full == Proposals(toy.context())(student, teacher, toy.targets(empty=True))
