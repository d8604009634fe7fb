import sys
from types import SimpleNamespace

import pytest
import torch

from graphkd.distill.teacher import FrozenTeacher
from graphkd.errors import UserError
from graphkd.modeling.network import compile_body
from graphkd.views import view_of
from tests.reader import reader
from tests.small import CLASSES, page, small_model

NEEDS = frozenset({"region_features", "region_predictions"})


def teacher_of(model, **options):
    return FrozenTeacher(view_of(model), CLASSES, **options)


def boxes(count=3):
    return [torch.tensor([[4.0, 6.0, 60.0, 50.0]]).repeat(count, 1)]


def test_is_frozen_and_in_eval_mode():
    model = small_model().train()
    teacher_of(model)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_answers_carry_no_gradient():
    seen = teacher_of(small_model()).observe([page(2)], boxes(), NEEDS)
    assert not seen.regions.features.requires_grad
    assert not seen.regions.logits.requires_grad


def test_a_model_switched_to_training_mode_is_noticed():
    teacher = teacher_of(small_model())
    teacher.model.train()
    with pytest.raises(AssertionError, match="training mode"):
        teacher.observe([page(2)], boxes(), NEEDS)


def test_channel_order_of_the_teacher_is_respected():
    model = small_model()
    item = page(2)
    turned = {**item, "image": item["image"].flip(0)}
    same = teacher_of(model, input_format="RGB", student_format="RGB").observe(
        [item], boxes(), NEEDS
    )
    other = teacher_of(model, input_format="RGB", student_format="BGR").observe(
        [turned], boxes(), NEEDS
    )
    torch.testing.assert_close(same.regions.logits, other.regions.logits)


def test_only_the_body_is_compiled_and_names_stay(monkeypatch):
    monkeypatch.setenv("CXX", sys.executable)  # nothing is compiled before the first step
    model = small_model()
    names = list(model.state_dict())
    assert compile_body(model).backbone.bottom_up._compiled_call_impl is not None
    assert model._compiled_call_impl is None and list(model.state_dict()) == names
    assert compile_body(reader()).body._compiled_call_impl is not None
    with pytest.raises(UserError, match="COMPILE"):
        compile_body(SimpleNamespace(backbone=torch.nn.Identity()))
