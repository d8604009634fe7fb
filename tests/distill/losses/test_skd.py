"""Structured distillation, by hand."""

import torch

from graphkd.distill.losses.functional import bernoulli_kl
from graphkd.distill.losses.skd import SKD, similarities
from tests.distill.losses.map_pages import context, outputs, targets


def test_similarities_by_hand():
    maps = torch.tensor([[3.0, 0.0], [4.0, 2.0]]).reshape(1, 2, 1, 2)
    expected = torch.tensor([[[1.0, 0.8], [0.8, 1.0]]])
    torch.testing.assert_close(similarities(maps, grid=16), expected)


def test_large_maps_are_compared_on_a_grid():
    maps = torch.randn(1, 3, 40, 8)
    assert similarities(maps, grid=4).shape == (1, 16, 16)


def test_terms_by_hand():
    student, teacher, truth = outputs(1), outputs(2), targets()
    found = SKD(context(), grid=4)(student, teacher, truth)
    kept = truth.maps["mask"] > 0
    divergence = bernoulli_kl(student.maps["text"], teacher.maps["text"], temperature=1)
    torch.testing.assert_close(found["pixel"], 10 * divergence[kept].mean())
    grams = [similarities(each.features["fused"], grid=4) for each in (student, teacher)]
    torch.testing.assert_close(found["pair"], (grams[0] - grams[1]).square().mean())


def test_the_widths_may_differ():
    terms = SKD(context(teacher_width=12))(outputs(1), outputs(2, width=12), targets())
    assert terms["pair"] > 0
