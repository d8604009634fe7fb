"""Tests of graphkd/distill/losses/fitnets.py."""

import pytest
import torch
from torch import nn

from graphkd.distill.losses.fitnets import FitNets
from graphkd.distill.outputs import Outputs
from tests.distill.losses import crops, map_pages


def test_zero_where_student_equals_teacher(toy):
    same = toy.outputs(0)
    assert FitNets(toy.context())(same, same, toy.targets())["features"] == 0


def test_a_constant_gap_costs_its_square_once_a_level(toy):
    """Every cell differs by 3: a mean of 9 a level, on four levels of very unequal area."""
    teacher = toy.outputs(0)
    student = toy.change(teacher, lambda tensor: tensor + 3)
    term = FitNets(toy.context())(student, teacher, toy.targets())["features"]
    torch.testing.assert_close(term, torch.tensor(36.0))


def test_hand_worked_number_on_one_level(toy):
    context = toy.context(student_channels=1, teacher_channels=1, levels=("p3",))
    student = Outputs(features={"p3": torch.tensor([[[[1.0, 2.0]]]])})
    teacher = Outputs(features={"p3": torch.tensor([[[[0.0, 4.0]]]])})
    term = FitNets(context)(student, teacher, toy.targets(images=1))["features"]
    assert term.item() == pytest.approx((1 + 4) / 2)


@pytest.mark.parametrize("kernel", [1, 3])
def test_adapters_bridge_different_widths(toy, kernel):
    loss = FitNets(toy.context(teacher_channels=12), kernel=kernel)
    shapes = {tuple(each.weight.shape) for each in loss.adapters.values()}
    assert shapes == {(12, 8, kernel, kernel)}
    term = loss(toy.outputs(0), toy.outputs(1, channels=12), toy.targets())["features"]
    term.backward()
    assert all(each.weight.grad.abs().sum() > 0 for each in loss.adapters.values())


def test_no_adapter_where_widths_agree(toy):
    loss = FitNets(toy.context())
    assert all(isinstance(each, nn.Identity) for each in loss.adapters.values())


def test_refuses_other_kernels(toy):
    with pytest.raises(ValueError, match="1 or 3"):
        FitNets(toy.context(), kernel=2)


def test_the_fused_map_of_text_detectors():
    student, teacher = map_pages.outputs(1), map_pages.outputs(2)
    loss = FitNets(map_pages.context(), tap="fused")
    error = student.features["fused"] - teacher.features["fused"]
    found = loss(student, teacher, map_pages.targets())
    torch.testing.assert_close(found, {"features": error.square().mean()})
    assert list(loss.adapters) == ["fused"]


def test_the_neck_of_readers():
    student, teacher = crops.outputs(1), crops.outputs(2)
    loss = FitNets(crops.context(), tap="neck")
    error = student.features["neck"] - teacher.features["neck"]
    found = loss(student, teacher, crops.targets())
    torch.testing.assert_close(found, {"features": error.square().mean()})
    with pytest.raises(ValueError, match="needs a map neck in both models"):
        FitNets(map_pages.context(), tap="neck")
