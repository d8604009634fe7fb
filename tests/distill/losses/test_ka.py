"""Knowledge adaptation: codes, affinities and who trains what."""

import pytest
import torch

from graphkd.distill.losses.ka import KnowledgeAdaptation, code_distance
from tests.distill.losses.map_pages import context, gradients, outputs, targets, with_gradient


def test_code_distance_by_hand():
    one = torch.tensor([[[[2.0, 0.0]], [[0.0, 5.0]]]])
    other = torch.tensor([[[[0.0, 3.0]], [[0.0, 1.0]]]])
    # right angle in the first channel, the same direction in the second
    assert code_distance(one, other).item() == pytest.approx(2**0.5 / 2, abs=1e-5)


def test_a_student_with_the_code_of_the_teacher_has_nothing_to_learn():
    loss, teacher = KnowledgeAdaptation(context()), outputs(2)
    loss.adapter.load_state_dict(loss.encoder.state_dict())
    terms = loss(teacher, teacher, targets())
    assert terms["adapt"] < 1e-4 and terms["affinity"] < 1e-8 and terms["reconstruction"] > 0


def test_the_student_does_not_move_the_auto_encoder():
    loss, student = KnowledgeAdaptation(context(teacher_width=12)), with_gradient(outputs(1))
    terms = loss(student, outputs(2, width=12), targets())
    (terms["adapt"] + terms["affinity"]).backward()
    assert loss.encoder.weight.grad is None and loss.adapter.weight.grad.abs().sum() > 0
    assert set(gradients(student)) == {("features", "fused")}
    loss(student, outputs(2, width=12), targets())["reconstruction"].backward()
    assert loss.encoder.weight.grad.abs().sum() > 0
