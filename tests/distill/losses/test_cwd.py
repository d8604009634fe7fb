"""Tests of graphkd/distill/losses/cwd.py."""

import math

import pytest
import torch

from graphkd.distill.losses.base import LossContext
from graphkd.distill.losses.cwd import CWD
from graphkd.distill.losses.functional import softened_kl
from graphkd.distill.losses.levels import LevelPair
from tests.distill.losses import map_pages


def channel_divergence(student, teacher, *, temperature):
    """The distance of one level of these maps."""
    facts = LossContext(levels=("p3",), channels={"p3": (student.shape[1],) * 2})
    return CWD(facts, temperature=temperature).distance(LevelPair("p3", student, teacher, 8))


def test_zero_where_student_equals_teacher(toy):
    same = toy.outputs(0)
    assert CWD(toy.context())(same, same, toy.targets())["features"].item() == pytest.approx(
        0, abs=1e-6
    )


def test_hand_worked_number():
    """Two cells, teacher (3/4, 1/4), student (1/2, 1/2); a second channel that agrees halves it."""
    teacher = torch.tensor([[math.log(3), 0.0], [1.0, 2.0]]).reshape(1, 2, 1, 2)
    student = torch.tensor([[0.0, 0.0], [1.0, 2.0]]).reshape(1, 2, 1, 2)
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert channel_divergence(student, teacher, temperature=1).item() == pytest.approx(expected)


def test_a_constant_a_channel_does_not_count(toy):
    loss, teacher, targets = CWD(toy.context()), toy.outputs(2), toy.targets()
    student = toy.outputs(1)
    offset = 4 * torch.randn(1, 8, 1, 1, generator=torch.Generator().manual_seed(3))
    moved = type(student)(features={name: each + offset for name, each in student.features.items()})
    plain = loss(student, teacher, targets)
    torch.testing.assert_close(loss(moved, teacher, targets), plain, rtol=1e-4, atol=1e-5)
    assert plain["features"] > 0.1


def test_temperature_softens_and_rescales():
    teacher = torch.tensor([2 * math.log(3), 0.0]).reshape(1, 1, 1, 2)
    student = torch.zeros(1, 1, 1, 2)
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert channel_divergence(student, teacher, temperature=2).item() == pytest.approx(expected)


def test_the_area_of_a_level_does_not_scale_it():
    """Repeating a map in both directions leaves the divergence of the distributions."""
    student, teacher = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    small = channel_divergence(student, teacher, temperature=1)
    large = channel_divergence(
        student.repeat(1, 1, 5, 5), teacher.repeat(1, 1, 5, 5), temperature=1
    )
    torch.testing.assert_close(large, small)


def test_text_maps_are_distributions_over_the_mask():
    student, teacher, truth = map_pages.outputs(1), map_pages.outputs(2), map_pages.targets()
    maps = (each.maps["text"][..., :80].flatten(1) for each in (student, teacher))
    expected = softened_kl(*maps, temperature=3).mean()
    found = CWD(map_pages.context(), maps="text", temperature=3)(student, teacher, truth)
    torch.testing.assert_close(found, {"text": expected})
