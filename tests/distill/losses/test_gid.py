"""Tests of graphkd/distill/losses/gid.py."""

import math
from dataclasses import replace

import pytest
import torch

from graphkd.distill.losses.gid import GID, general_instances, instance_terms, relation
from graphkd.distill.outputs import Regions


def regions(boxes, logits, features=None):
    count = len(logits)
    return Regions(
        boxes=boxes,
        features=torch.zeros(count, 1, 1, 1) if features is None else features,
        logits=torch.tensor(logits),
        deltas=torch.zeros(count, 4),
    )


def test_zero_where_student_equals_teacher(toy):
    same = toy.outputs(0)
    terms = GID(toy.context())(same, same, toy.targets())
    assert set(terms) == {"feature", "relation", "response"}
    for value in terms.values():
        assert value.item() == pytest.approx(0, abs=1e-6)


def test_instances_are_where_both_disagree_most():
    """Rows 0 and 1 overlap, 1 differs more; row 2 differs least; the second image has row 3."""
    near = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [50.0, 0.0, 60.0, 10.0]])
    boxes = (near, near[:1])
    student = regions(boxes, [[0.0, 0.0]] * 4)
    teacher = regions(boxes, [[1.0, 0.0], [-2.0, 0.0], [0.1, 0.0], [1.0, 0.0]])
    chosen = general_instances(student, teacher, top=10, overlap=0.3)
    assert [rows.tolist() for rows in chosen] == [[1, 2], [3]]
    chosen = general_instances(student, teacher, top=1, overlap=0.3)
    assert [rows.tolist() for rows in chosen] == [[1], [3]]


def test_background_is_no_class():
    """Equal class scores and only noise in how background is split give no difference."""
    boxes = (torch.tensor([[0.0, 0.0, 9.0, 9.0], [50.0, 0.0, 60.0, 10.0]]),)
    student = regions(boxes, [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    # row 0: background takes 0.3 from two classes; row 1: one class takes 0.2 from background
    teacher = regions(
        boxes,
        [
            torch.tensor([1 / 3 - 0.15, 1 / 3 - 0.15, 1 / 3 + 0.3]).log().tolist(),
            torch.tensor([1 / 3 + 0.2, 1 / 3, 1 / 3 - 0.2]).log().tolist(),
        ],
    )
    chosen = general_instances(student, teacher, top=1, overlap=0.3)
    assert chosen[0].tolist() == [1]


def test_relation_by_hand():
    """Points 0, 3 and 4 + 0 on a line: distances 3, 4, 1 with mean 8/3."""
    distances = relation(torch.tensor([[0.0], [3.0], [4.0]]))
    expected = torch.tensor([[0.0, 3, 4], [3, 0, 1], [4, 1, 0]]) * 3 / 8
    torch.testing.assert_close(distances, expected)


def test_relation_does_not_know_the_scale_of_features():
    features = torch.randn(5, 7)
    torch.testing.assert_close(relation(9 * features + 4), relation(features))


def test_relation_of_equal_rows_has_a_finite_slope():
    features = torch.ones(3, 2, requires_grad=True)
    relation(features).square().sum().backward()
    assert torch.isfinite(features.grad).all()


def test_instance_terms_by_hand():
    """One region: features differ by (1, 2), class scores by KL a, boxes by 2 in each delta."""
    boxes = (torch.tensor([[0.0, 0.0, 9.0, 9.0]]),)
    student = regions(boxes, [[0.0, 0.0]], torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1))
    teacher = regions(boxes, [[math.log(3), 0.0]], torch.zeros(1, 2, 1, 1))
    teacher = replace(teacher, deltas=torch.full((1, 4), 2.0))
    feature, pairs, response = instance_terms(student, teacher, torch.tensor([0]), temperature=1)
    assert feature == 5
    assert pairs == 0
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5) + 2
    assert response.item() == pytest.approx(expected)


def test_only_chosen_regions_count(toy):
    """With one instance an image, every image moves the features of one region."""
    student = toy.change(toy.outputs(1), lambda tensor: tensor.requires_grad_())
    loss = GID(toy.context(), top=1, relation_weight=0, response_weight=0)
    loss(student, toy.outputs(2), toy.targets())["feature"].backward()
    moved = student.regions.features.grad.flatten(1).abs().sum(1) > 0
    assert moved.reshape(2, 6).sum(1).tolist() == [1, 1]


def test_refusals(toy):
    with pytest.raises(ValueError, match="two-stage"):
        GID(toy.context(two_stage=False))
    with pytest.raises(ValueError, match="equal height"):
        GID(toy.context(shared_regions=False))
    with pytest.raises(ValueError, match="TOP"):
        GID(toy.context(), top=0)
