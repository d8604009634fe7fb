"""Tests of graphkd/distill/graph/edges.py."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from graphkd.distill.graph.edges import (
    class_sums,
    cosine_affinity,
    covariance_factor,
    mahalanobis_affinity,
    mahalanobis_weights,
    squared_mahalanobis,
    variation,
    within_class_scatter,
)


def rows(seed, count=6, width=5):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=draw, dtype=torch.float64)


def present(count):
    return torch.ones(count, dtype=torch.bool)


def test_cosines_are_the_products_of_unit_rows():
    features = rows(0)
    unit = F.normalize(features, dim=1)
    assert torch.allclose(cosine_affinity(features), unit @ unit.T)


def test_gradient_of_cosine_and_mahalanobis_affinity():
    features = rows(1).requires_grad_()
    factor = torch.linalg.cholesky(torch.cov(rows(2, 40).T))
    assert torch.autograd.gradcheck(cosine_affinity, features)
    assert torch.autograd.gradcheck(lambda x: mahalanobis_affinity(x, factor), features)


def test_zero_and_equal_rows_have_finite_edges_and_gradients():
    features = torch.zeros(4, 3)
    features[2:] = 1
    features.requires_grad_()
    for edges in (cosine_affinity(features), mahalanobis_affinity(features, torch.eye(3))):
        (grad,) = torch.autograd.grad(edges.square().sum(), features)
        assert edges.isfinite().all() and grad.isfinite().all()
    assert cosine_affinity(torch.zeros(0, 3)).shape == (0, 0)
    assert squared_mahalanobis(torch.zeros(0, 3), torch.eye(3)).shape == (0, 0)


def scatter_of(rows, labels, *, num_labels):
    sums = class_sums(rows, labels, num_labels=num_labels)
    return within_class_scatter(rows, labels, sums=sums)


def test_scatter_by_hand():
    descriptors = torch.tensor([[0.0, 0.0], [2.0, 4.0], [7.0, 7.0], [9.0, 7.0], [5.0, 5.0]])
    scatter, dof = scatter_of(descriptors, torch.tensor([0, 0, 2, 2, 3]), num_labels=5)
    # residuals (-1, -2), (1, 2), (-1, 0), (1, 0), (0, 0)
    assert torch.equal(scatter, torch.tensor([[4.0, 4.0], [4.0, 8.0]]))
    assert dof == 2
    scatter, dof = scatter_of(descriptors[:0], torch.zeros(0).long(), num_labels=5)
    assert dof == 0 and not scatter.any()


def test_distances_by_hand():
    factor = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    distances = squared_mahalanobis(torch.tensor([[0.0, 0.0], [4.0, 3.0]]), factor)
    assert torch.allclose(distances, torch.tensor([[0.0, 13.0], [13.0, 0.0]]))


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_literal_affinity_does_not_change_under_an_invertible_linear_map(seed):
    labels = torch.arange(60) % 3
    samples = rows(seed, 60, 5) + 3 * rows(seed + 1, 3, 5)[labels]
    transform = rows(seed + 2, 5, 5)
    left, values, right = torch.linalg.svd(transform)
    transform = left @ torch.diag(values.clamp(0.2, 5)) @ right

    def edges(features):
        statistics = scatter_of(features, labels, num_labels=3)
        factor = covariance_factor(*statistics, min_shrinkage=0)
        return mahalanobis_affinity(features[:10], factor)

    assert torch.allclose(edges(samples @ transform), edges(samples), atol=1e-8)


def test_covariance_of_the_same_page_makes_all_distances_equal():
    # the trap: n - 1 <= width, so whitening with the page's own covariance leaves a regular simplex
    page = rows(3, 20, 64)
    centred = page - page.mean(0)
    ridge = 1e-9 * torch.eye(64, dtype=page.dtype)
    factor = torch.linalg.cholesky(centred.T @ centred / 19 + ridge)
    distances = squared_mahalanobis(page, factor)
    away = distances[~torch.eye(20, dtype=torch.bool)]
    assert torch.allclose(away, torch.tensor(38.0, dtype=page.dtype), rtol=1e-4)
    assert variation(distances, present(20)) < 0.02


def test_running_within_class_covariance_keeps_distances_apart():
    centres = 2 * rows(4, 4, 64)
    scatter, dof = torch.zeros(64, 64, dtype=torch.float64), torch.tensor(0.0)
    for step in range(20):
        labels = torch.randint(4, (20,), generator=torch.Generator().manual_seed(step))
        page = rows(100 + step, 20, 64) + centres[labels]
        batch, added = scatter_of(page, labels, num_labels=4)
        scatter, dof = scatter + batch, dof + added
    factor = covariance_factor(scatter, dof, min_shrinkage=0.1)
    assert variation(squared_mahalanobis(page, factor), present(20)) > 0.02


@pytest.mark.parametrize("dof", [0.0, 1.0])
def test_factor_without_data_or_with_a_broken_scatter_is_a_finite_diagonal(dof):
    for scatter in (torch.zeros(3, 3), -torch.ones(3, 3)):
        factor = covariance_factor(scatter, torch.tensor(dof), min_shrinkage=0)
        assert torch.equal(factor, torch.eye(3))


def test_shrinkage_moves_to_the_scaled_identity():
    factor = covariance_factor(
        torch.diag(torch.tensor([2.0, 6.0])), torch.tensor(2.0), min_shrinkage=1
    )
    assert torch.allclose(factor @ factor.T, 2 * torch.eye(2))


def test_weights_are_distances_over_their_median_within_bounds():
    distances = torch.zeros(4, 4)
    for a, b, value in ((0, 1, 2.0), (0, 2, 4.0), (1, 2, 100.0)):
        distances[a, b] = distances[b, a] = value
    distances[3] = distances[:, 3] = 7.0
    weights = mahalanobis_weights(distances, torch.tensor([True, True, True, False]))
    assert weights[0, 1] == 0.5 and weights[0, 2] == 1 and weights[1, 2] == 10
    assert weights[0, 0] == torch.tensor(0.1)
    assert torch.equal(mahalanobis_weights(distances, present(4) & False), torch.ones(4, 4))
    assert torch.equal(mahalanobis_weights(torch.zeros(2, 2), present(2)), torch.ones(2, 2))


def test_variation_by_hand():
    distances = torch.tensor([[9.0, 1.0, 3.0], [1.0, 9.0, 2.0], [3.0, 2.0, 9.0]])
    assert variation(distances, present(3)).item() == pytest.approx((2 / 3) ** 0.5 / 2)
    assert variation(distances, torch.tensor([True, False, False])) == 0
