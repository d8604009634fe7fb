"""Self attention distillation, by hand."""

import pytest
import torch

from graphkd.distill.losses.sad import SAD, attention
from tests.distill.losses.map_pages import context, gradients, outputs, targets, with_gradient


def test_attention_is_a_distribution_over_places():
    maps = torch.randn(2, 5, 4, 6)
    found = attention(maps, size=(8, 12))
    torch.testing.assert_close(found.sum(1), torch.ones(2))
    flat = attention(maps, size=(4, 6)).reshape(2, 4, 6)
    torch.testing.assert_close(flat, maps.square().sum(1).flatten(1).softmax(1).reshape(2, 4, 6))


def test_two_maps_by_hand():
    loss = SAD(context(levels=("p2", "p3")), tap="levels")
    student = outputs(1)
    student.features.update(p2=torch.zeros(1, 1, 1, 2), p3=torch.ones(1, 1, 1, 2))
    student.features["p2"][..., 0] = torch.log(torch.tensor(3.0)).sqrt()
    # 3/4 and 1/4 against 1/2 and 1/2
    assert loss(student, None, targets())["attention"].item() == pytest.approx(2 / 16)


def test_it_teaches_the_shallow_map_in_the_second_half():
    student = with_gradient(outputs(1))
    SAD(context())(student, None, targets(progress=0.5))["attention"].backward()
    assert set(gradients(student)) == {("stages", name) for name in ("c2", "c3", "c4")}
    early = SAD(context())(student, None, targets(progress=0.49))["attention"]
    assert early == 0 and early.requires_grad


def test_it_has_no_parameters_and_needs_two_maps():
    assert not list(SAD(context()).parameters())
    with pytest.raises(ValueError, match="needs two maps"):
        SAD(context(levels=("p2",)), tap="levels")
