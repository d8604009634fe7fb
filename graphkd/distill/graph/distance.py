"""Distances between the student's and the teacher's nodes and edge profiles.

Evidence: node imitation plus edge imitation [2nd]; edge distillation weighted by Mahalanobis
distance, with edges distinguished by the types of their ends [paper]; the distance between two edge
profiles under the covariance of the teacher's profiles, its shrinkage and the type weights [ours].
`Differs from the paper:` the authors give no formula and their release does not contain this part,
so no published number can be compared with it.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class ProfileMetric(NamedTuple):
    """The teacher's metric on edge profiles, constant for the student.

    Attributes:
        factor: (n, n) lower triangular L with L L^T = K.
        scale: scalar factor with which the metric is Euclidean at full shrinkage.
        shrinkage: scalar rho.
        condition: scalar, an upper bound of the condition number of K.
    """

    factor: Tensor
    scale: Tensor
    shrinkage: Tensor
    condition: Tensor


def oas_shrinkage(covariance: Tensor, *, count: Tensor, width: Tensor | int) -> Tensor:
    """Oracle approximating shrinkage, OAS (Chen, Wiesel, Eldar, Hero 2010, equation 23).

    Args:
        covariance: (p, p) maximum likelihood estimate of `count` samples.
        count: scalar.
        width: p, not counting rows and columns without data, which are 0.

    Returns:
        Scalar rho in 0..1; 1 for a zero matrix and for two samples of width two.
    """
    trace = covariance.diagonal().sum()
    squares = covariance.square().sum()
    width = torch.as_tensor(width, dtype=trace.dtype, device=trace.device).clamp(min=1)
    spread = squares - trace.square() / width
    numerator = (1 - 2 / width) * squares + trace.square()
    denominator = (count + 1 - 2 / width) * spread
    # A multiple of the identity has no spread but rounding; shrinkage does not change it.
    usable = denominator > 1e-6 * trace.square()
    rho = numerator / torch.where(usable, denominator, 1.0)
    return torch.where(usable, rho, torch.ones_like(rho)).clamp(0, 1)


def profile_metric(
    teacher_edges: Tensor, present: Tensor, *, rho_min: float, eps: float = 1e-6
) -> ProfileMetric:
    """Mahalanobis metric of the teacher's edge profiles: `K = (1 - rho) S + (rho mu + eps) I`.

    S is the covariance of the profiles, mu its mean variance and rho = max(rho_min, OAS). The
    eigenvalues of K lie between rho mu + eps and (1 + M) mu + eps. So its condition number is at
    most about M / rho, which is safe in float32 without a ridge, and no direction is amplified more
    than 1 / rho_min times. The metric is Euclidean for equal profiles and for a single node.

    Args:
        teacher_edges: (n, n), rows and columns of absent nodes 0.
        present: (n,) bool, rows that are nodes; M is their number.
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
    # Unlike cholesky, cholesky_ex does not wait for the GPU to check the matrix, which is positive
    # definite by construction.
    factor = torch.linalg.cholesky_ex((1 - rho) * covariance + floor * identity).L
    scale = level + eps
    condition = 1 + (1 - rho) * covariance.square().sum().sqrt() / floor
    return ProfileMetric(factor, scale, rho, condition)


def profile_squares(difference: Tensor, metric: ProfileMetric | None) -> Tensor:
    """Squared length `scale * ||L^-1 d||^2` of every row d of (n, n), as (n,); a metric of None is
    Euclidean.
    """
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
    """Half the mean squared difference of edges, a scalar >= 0; 0 without nodes. It is averaged
    within every edge type, then over the types that occur.

    Every type is measured alone: differences of other types are set to 0 before the metric is
    applied. So each term is >= 0 and, at full shrinkage, exactly half the mean squared error of its
    edges.

    Args:
        student_edges: (n, n).
        teacher_edges: (n, n).
        present: (n,) bool, rows that are nodes; the others are ignored.
        is_text: (n,) bool; other nodes are non-text, including background.
        metric: the teacher's metric; None for Euclidean.
        edge_weights: (n, n) factor of every squared difference; None for 1.
        type_weights: weights of text-text, text-nontext and nontext-nontext edges.
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
    """Mean squared difference of every node, (n,): the squared length of its members' mean
    difference, divided by D.

    Args:
        difference: (n, D) student minus teacher of every member region.
        slots: (n,) int64 node of every region.
        sizes: (n,) number of members of every node; 0 for an unused slot, whose result is 0.
    """
    sums = torch.zeros_like(difference).index_add_(0, slots, difference)
    lengths = torch.linalg.vector_norm(sums, dim=1)
    return lengths.square() / (sizes.clamp(min=1).square() * max(difference.shape[1], 1))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` (n,) where `mask` (n,) is True; 0 if it is True nowhere."""
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)
