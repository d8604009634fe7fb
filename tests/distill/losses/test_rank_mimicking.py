"""Tests of graphkd/distill/losses/rank_mimicking.py."""

import math
from dataclasses import replace

import pytest
import torch

from graphkd.distill.losses.rank_mimicking import (
    RankMimicking,
    positive_anchors,
    rank_divergence,
    sorted_divergence,
)
from graphkd.distill.outputs import Dense


@pytest.mark.parametrize("two_stage", [True, False])
def test_zero_where_student_equals_teacher(toy, two_stage):
    same = toy.outputs(0, two_stage=two_stage)
    loss = RankMimicking(toy.context(two_stage=two_stage))
    assert loss(same, same, toy.targets())["rank"] == 0


def test_positives_of_every_object():
    """Anchor 0 is nearer to object 0, anchor 1 to object 1, anchor 2 to none."""
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [4.0, 0.0, 14.0, 10.0]])
    anchors = torch.tensor(
        [[1.0, 0.0, 11.0, 10.0], [4.0, 0.0, 14.0, 10.0], [50.0, 0.0, 60.0, 10.0]]
    )
    members = positive_anchors(boxes, anchors, overlap=0.3)
    assert members.tolist() == [[True, False, False], [False, True, False]]
    assert positive_anchors(boxes[:0], anchors, overlap=0.3).shape == (0, 3)


def test_hand_worked_number():
    """Teacher (3/4, 1/4), student (1/2, 1/2) over two anchors; a third is of another object."""
    members = torch.tensor([[True, True, False]])
    student = torch.tensor([[0.0, 0.0, 80.0]])
    teacher = torch.tensor([[math.log(3), 0.0, -80.0]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert rank_divergence(student, teacher, members).item() == pytest.approx(expected)


def test_sorted_scores_by_hand():
    """Scores (0.8, 0.4) and (0.4, 0.9): sorted, 0.4 meets 0.4 and 0.8 meets 0.9."""
    members = torch.tensor([[True, False, True]])
    student = torch.tensor([[0.8, 0.99, 0.4]]).logit()
    teacher = torch.tensor([[0.4, 0.99, 0.9]]).logit()
    p = torch.tensor([0.4, 0.9]).softmax(0)
    q = torch.tensor([0.4, 0.8]).softmax(0)
    expected = (p * (p / q).log()).sum()
    torch.testing.assert_close(sorted_divergence(student, teacher, members)[0], expected)
    assert sorted_divergence(student.flip(1), student, members).item() == pytest.approx(0, abs=1e-6)


def test_an_objects_term_is_that_of_the_published_code(toy):
    """Per object the KL of softmaxes of sorted sigmoid scores, summed and divided by the objects,
    one with a single anchor included; then a mean over images.
    """
    student, teacher = toy.outputs(1, two_stage=False), toy.outputs(2, two_stage=False)
    targets = toy.targets()
    anchors = torch.cat(targets.anchors)
    # one more object, too small for every anchor
    lonely = torch.cat([targets.boxes[0], torch.tensor([[90.0, 0.0, 94.0, 3.0]])])
    targets = replace(
        targets, boxes=(lonely, targets.boxes[1]), classes=(torch.tensor([0, 2, 1]),) * 2
    )
    targets = replace(targets, classes=(targets.classes[0], targets.classes[0][:2]))

    def rows(item, image):
        parts = [
            each[image].reshape(toy.anchors_a_cell, toy.classes, -1).permute(2, 0, 1)
            for each in item.dense.logits
        ]
        return torch.cat([each.reshape(-1, toy.classes) for each in parts])

    expected = 0.0
    for image, (boxes, classes) in enumerate(zip(targets.boxes, targets.classes, strict=True)):
        members = positive_anchors(boxes, anchors, overlap=0.2)
        total = 0.0
        for own, label in zip(members, classes.tolist(), strict=True):
            scores = [rows(each, image)[own, label].sigmoid() for each in (student, teacher)]
            q, p = (torch.sort(each)[0].softmax(0) for each in scores)
            total += (p * p.log() - p * q.log()).sum().item()
        expected += total / len(boxes) / 2
    loss = RankMimicking(toy.context(two_stage=False), overlap=0.2)
    assert loss(student, teacher, targets)["rank"].item() == pytest.approx(expected, rel=1e-4)


def test_a_single_anchor_has_no_rank():
    members = torch.tensor([[True, False]])
    scores = torch.tensor([[1.0, 2.0]])
    assert rank_divergence(scores, -scores, members).tolist() == [0]


def test_only_the_ranking_within_an_object_counts(toy):
    """Adding a constant to all logits of the student leaves their softmax, so the term stays."""
    student, teacher, targets = toy.outputs(1), toy.outputs(2), toy.targets()
    higher = replace(
        student,
        dense=Dense(
            logits=tuple(each + 3 for each in student.dense.logits), deltas=student.dense.deltas
        ),
    )
    loss = RankMimicking(toy.context(), scores="logits")
    plain = loss(student, teacher, targets)
    assert plain["rank"] > 0.05
    torch.testing.assert_close(loss(higher, teacher, targets), plain, rtol=1e-4, atol=1e-6)


def test_only_the_objects_class_counts(toy):
    """Both objects are of class 0 or 2; the scores of class 1 do not matter."""
    student, teacher = toy.outputs(1, two_stage=False), toy.outputs(2, two_stage=False)

    def with_other(label):
        logits = [each.clone() for each in student.dense.logits]
        for each in logits:
            each[:, label :: toy.classes] = 0
        return replace(student, dense=replace(student.dense, logits=tuple(logits)))

    loss = RankMimicking(toy.context(two_stage=False), overlap=0.2)
    targets = toy.targets()
    plain = loss(student, teacher, targets)
    assert loss(with_other(1), teacher, targets) == plain
    assert loss(with_other(2), teacher, targets) != plain


def test_one_stage_refuses_other_classes(toy):
    with pytest.raises(ValueError, match="class lists"):
        RankMimicking(toy.context(two_stage=False, same_classes=False))
    RankMimicking(toy.context(same_classes=False))
