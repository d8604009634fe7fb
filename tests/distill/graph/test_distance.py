"""Tests of graphkd/distill/graph/distance.py."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphkd.distill.graph.distance import (
    edge_distance,
    masked_mean,
    node_squares,
    oas_shrinkage,
    profile_metric,
    profile_squares,
)
from graphkd.distill.graph.edges import cosine_affinity


def edges(seed, size=6, width=9, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    return cosine_affinity(torch.randn(size, width, generator=draw, dtype=dtype) + 0.5)


def mask(size, *, last_absent=0):
    return torch.arange(size) < size - last_absent


def test_shrinkage_by_hand():
    # p 2, tr S 4, tr S^2 10: ((1 - 1) 10 + 16) / ((10 + 1 - 1) (10 - 8)) = 0.8
    covariance = torch.diag(torch.tensor([1.0, 3.0]))
    rho = oas_shrinkage(covariance, count=torch.tensor(10.0), width=2)
    assert rho.item() == pytest.approx(0.8)
    padded = torch.zeros(5, 5)
    padded[1:3, 1:3] = covariance
    assert oas_shrinkage(padded, count=torch.tensor(10.0), width=2).item() == pytest.approx(0.8)


def test_shrinkage_is_full_for_two_samples_and_for_no_variance():
    two = edges(0, 2).float()
    assert profile_metric(two, mask(2), rho_min=0.1).shrinkage == 1
    assert oas_shrinkage(torch.zeros(4, 4), count=torch.tensor(4.0), width=4) == 1


@given(st.integers(0, 1000), st.sampled_from([0.1, 0.3]))
@settings(max_examples=25, deadline=None)
def test_metric_is_bounded(seed, rho_min):
    teacher = edges(seed, 12)
    metric = profile_metric(teacher, mask(12), rho_min=rho_min)
    values = torch.linalg.eigvalsh(metric.factor @ metric.factor.T)
    assert values.max() / values.min() <= metric.condition * (1 + 1e-9)
    assert metric.condition <= 1 + 12 / rho_min
    assert (metric.scale / values).max() <= 1 / rho_min + 1e-9


def test_absent_rows_change_nothing():
    small = edges(1, 5)
    large = torch.zeros(7, 7, dtype=small.dtype)
    large[:5, :5] = small
    student = torch.zeros_like(large)
    student[:5, :5] = edges(2, 5)
    text = torch.tensor([True, True, False, False, False, True, False])
    found = [
        edge_distance(
            student[:n, :n],
            large[:n, :n],
            present=torch.arange(n) < 5,
            is_text=text[:n],
            metric=profile_metric(large[:n, :n], torch.arange(n) < 5, rho_min=0.1),
        )
        for n in (5, 7)
    ]
    assert torch.allclose(*found)


def test_full_shrinkage_is_half_the_mean_squared_error():
    teacher, student = edges(3), edges(4)
    metric = profile_metric(teacher, mask(6), rho_min=1.0)
    none = torch.zeros(6, dtype=torch.bool)
    for chosen in (metric, None):
        found = edge_distance(student, teacher, present=mask(6), is_text=none, metric=chosen)
        assert torch.allclose(found, 0.5 * (student - teacher).square().mean())


def test_typed_mean_by_hand():
    difference = torch.tensor([[1.0, 2.0, 3.0], [2.0, 0.0, 4.0], [3.0, 4.0, 5.0]])
    found = edge_distance(
        difference,
        torch.zeros(3, 3),
        present=mask(3),
        is_text=torch.tensor([True, True, False]),
    )
    # text-text (1 + 4 + 4 + 0) / 4, text-nontext 2 (9 + 16) / 4, nontext-nontext 25
    expected = 0.5 * (0.5 * 9 / 4 + 50 / 4 + 25) / 2.5
    assert found.item() == pytest.approx(expected)
    single = edge_distance(difference, torch.zeros(3, 3), present=mask(3), is_text=mask(3))
    assert single.item() == pytest.approx(0.5 * difference.square().mean().item())


def test_edge_weights_scale_squares_of_their_edges():
    teacher, student = edges(5), edges(6)
    none = torch.zeros(6, dtype=torch.bool)
    weights = edges(7).abs()
    found = edge_distance(student, teacher, present=mask(6), is_text=none, edge_weights=weights)
    assert torch.allclose(found, 0.5 * (weights * (student - teacher).square()).mean())


def test_profile_squares_is_the_quadratic_form():
    teacher, difference = edges(8), edges(9) - edges(10)
    metric = profile_metric(teacher, mask(6), rho_min=0.1)
    inverse = torch.linalg.inv(metric.factor @ metric.factor.T)
    expected = metric.scale * ((difference @ inverse) * difference).sum(1)
    assert torch.allclose(profile_squares(difference, metric), expected)


def test_common_directions_cost_less_than_rare_ones():
    # the teacher's profiles vary along one pattern; a student that errs along it is excused
    pattern = torch.tensor([1.0, -1.0, 1.0, -1.0])
    teacher = pattern[:, None] * pattern[None]
    metric = profile_metric(teacher, mask(4), rho_min=0.1)
    common, rare = pattern[None] * 0.5, torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    assert profile_squares(common, metric) < 0.5 * profile_squares(rare, metric)


def test_gradients():
    teacher = edges(11)
    text = torch.tensor([True, False, True, False, False, True])
    metric = profile_metric(teacher, mask(6), rho_min=0.1)

    def loss(student):
        return edge_distance(student, teacher, present=mask(6), is_text=text, metric=metric)

    assert torch.autograd.gradcheck(loss, edges(12).requires_grad_())
    slots, sizes = torch.tensor([0, 1, 0, 3]), torch.tensor([2.0, 1, 0, 1], dtype=torch.float64)
    rows = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda each: node_squares(each, slots, sizes), rows)


@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_equal_rows_and_few_nodes_are_finite(size):
    teacher = torch.ones(size, size)
    student = torch.full((size, size), 0.5, requires_grad=True)
    metric = profile_metric(teacher, mask(size), rho_min=0.1)
    loss = edge_distance(
        student, teacher, present=mask(size), is_text=mask(size, last_absent=1), metric=metric
    )
    (grad,) = torch.autograd.grad(loss, student)
    assert loss.isfinite() and grad.isfinite().all()
    assert loss.item() == pytest.approx(0.125 if size else 0)


def test_node_squares_by_hand():
    difference = torch.tensor([[1.0, 3.0], [2.0, 0.0], [3.0, -1.0]])
    squares = node_squares(difference, torch.tensor([0, 1, 0]), torch.tensor([2.0, 1.0, 0.0]))
    # the mean of the first and the last row is (2, 1)
    assert torch.allclose(squares, torch.tensor([2.5, 2.0, 0.0]))
    assert node_squares(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0)).shape == (0,)


def test_masked_mean():
    values = torch.tensor([1.0, 2.0, torch.inf])
    assert masked_mean(values, torch.tensor([True, True, False])) == 1.5
    assert masked_mean(values, torch.zeros(3, dtype=torch.bool)) == 0
