"""How far the student's nodes and edge profiles are from the teacher's.

Evidence: node imitation plus edge imitation [2nd]; weighted edge distillation via Mahalanobis
distance, edges told apart by the types of their ends [paper]; the distance between two edge
profiles under the covariance of the teacher's own profiles, its shrinkage and the type weights
[ours]. `Differs from the paper:` the authors give no formula and their release contains none of it,
so no published number belongs to this one.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class ProfileMetric(NamedTuple):
    """The teacher's metric on edge profiles, constant for the student.

    Attributes:
        factor: (n, n) lower triangular L with L L^T = K.
        scale: scalar that makes the metric the Euclidean one at full shrinkage.
        shrinkage: scalar rho.
        condition: scalar, an upper bound of K's condition number.
    """

    factor: Tensor
    scale: Tensor
    shrinkage: Tensor
    condition: Tensor


def oas_shrinkage(covariance: Tensor, *, count: Tensor, width: Tensor | int) -> Tensor:
    """Oracle approximating shrinkage (Chen, Wiesel, Eldar, Hero 2010, equation 23).

    Args:
        covariance: (p, p) maximum likelihood estimate of `count` samples.
        count: scalar.
        width: p, without the rows and columns that are 0 as they hold no data.

    Returns:
        Scalar rho in 0..1; 1 for a zero matrix and for two samples of width two.
    """
    trace = covariance.diagonal().sum()
    squares = covariance.square().sum()
    width = torch.as_tensor(width, dtype=trace.dtype, device=trace.device).clamp(min=1)
    spread = squares - trace.square() / width
    numerator = (1 - 2 / width) * squares + trace.square()
    denominator = (count + 1 - 2 / width) * spread
    usable = denominator > 1e-6 * trace.square()
    rho = numerator / torch.where(usable, denominator, 1.0)
    return torch.where(usable, rho, torch.ones_like(rho)).clamp(0, 1)


def profile_metric(
    teacher_edges: Tensor, present: Tensor, *, rho_min: float, eps: float = 1e-6
) -> ProfileMetric:
    """Mahalanobis metric of the teacher's edge profiles: `K = (1 - rho) S + (rho mu + eps) I`.

    S is the covariance of the profiles, mu its mean variance and rho = max(rho_min, OAS). K's
    eigenvalues lie between rho mu + eps and (1 + M) mu + eps, so its condition number is at most
    about M / rho, which float32 bears without a ridge, and no direction is amplified more than
    1 / rho_min times. Equal profiles and a single node give the Euclidean metric.

    Args:
        teacher_edges: (n, n), rows and columns of absent nodes 0.
        present: (n,) bool, which rows are nodes; M of them.
        rho_min: least shrinkage, 0..1.
        eps: least variance.
    """
    size = len(teacher_edges)
    identity = torch.eye(size, dtype=teacher_edges.dtype, device=teacher_edges.device)
    rows = present.to(teacher_edges)
    count = rows.sum().clamp(min=1)
    centred = teacher_edges - (rows @ teacher_edges) / count
    centred = centred * rows[:, None] * rows[None]
    covariance = centred.T @ centred / count
    level = covariance.diagonal().sum() / count
    rho = oas_shrinkage(covariance, count=count, width=count).clamp(min=rho_min)
    floor = rho * level + eps
    # cholesky_ex does not wait for the device, and this matrix is positive definite by construction
    factor = torch.linalg.cholesky_ex((1 - rho) * covariance + floor * identity).L
    scale = level + eps
    condition = 1 + (1 - rho) * covariance.square().sum().sqrt() / floor
    return ProfileMetric(factor, scale, rho, condition)


def profile_squares(difference: Tensor, metric: ProfileMetric | None) -> Tensor:
    """Squared length `scale * ||L^-1 d||^2` of every row d of (n, n), Euclidean for None; (n,)."""
    if metric is None or not len(difference):
        return difference.square().sum(1)
    white = torch.linalg.solve_triangular(metric.factor, difference.T, upper=False)
    return metric.scale * white.square().sum(0)


def edge_distance(
    student_edges: Tensor,
    teacher_edges: Tensor,
    *,
    present: Tensor,
    is_text: Tensor,
    metric: ProfileMetric | None = None,
    edge_weights: Tensor | None = None,
    type_weights: tuple[float, float, float] = (0.5, 1.0, 1.0),
) -> Tensor:
    """Half the mean squared difference of edges, averaged within every edge type, then over the
    types present; a scalar >= 0, 0 for no nodes.

    Every type is measured alone: the difference of the other types is set to 0 before the metric
    sees it, so each term is >= 0 and, at full shrinkage, exactly the mean squared error of its
    edges.

    Args:
        student_edges: (n, n).
        teacher_edges: (n, n).
        present: (n,) bool, which rows are nodes; the others do not count.
        is_text: (n,) bool; all others count as non-text, background too.
        metric: teacher's metric; None for Euclidean.
        edge_weights: (n, n) factor of every squared difference; None for 1.
        type_weights: of text-text, text-nontext and nontext-nontext edges.
    """
    text = (is_text & present).to(teacher_edges)
    other = (~is_text & present).to(teacher_edges)
    same = text[:, None] * text[None] + other[:, None] * other[None]
    cross = text[:, None] * other[None] + other[:, None] * text[None]
    difference = student_edges - teacher_edges
    if edge_weights is not None:
        difference = difference * edge_weights.sqrt()
    same_rows = profile_squares(difference * same, metric)
    cross_rows = profile_squares(difference * cross, metric)
    texts, others = text.sum(), other.sum()
    counts = torch.stack([texts * texts, 2 * texts * others, others * others])
    sums = torch.stack([(same_rows * text).sum(), cross_rows.sum(), (same_rows * other).sum()])
    weights = counts.new_tensor(type_weights) * (counts > 0)
    terms = 0.5 * sums / counts.clamp(min=1)
    return (weights * terms).sum() / weights.sum().clamp(min=1e-12)


def node_squares(difference: Tensor, slots: Tensor, sizes: Tensor) -> Tensor:
    """Mean squared difference of every node: the squared length of its members' mean difference
    over D.

    Args:
        difference: (n, D) student minus teacher of every member region.
        slots: (n,) int64 node of every region.
        sizes: (n,) members of every node; an unused slot has none and gets 0.
    """
    sums = torch.zeros_like(difference).index_add_(0, slots, difference)
    lengths = torch.linalg.vector_norm(sums, dim=1)
    return lengths.square() / (sizes.clamp(min=1).square() * max(difference.shape[1], 1))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` (n,) where `mask` (n,) holds; 0 where it never does."""
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)
