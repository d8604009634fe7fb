"""Edges between nodes: cosine or Mahalanobis affinities, and edge weights.

Evidence: edges are cosine similarities of a complete graph [2nd, code of the parent DSIG]; the
paper mentions a Mahalanobis distance [paper]; Mahalanobis affinities and edge weights with a
running within-class covariance are two ways to read that [ours].
"""

import torch
from torch import Tensor

from graphkd.distill.graph.distance import oas_shrinkage


class _Gram(torch.autograd.Function):
    """`rows @ rows.T` with one matrix product in the backward pass instead of two."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return rows @ rows.T

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        with torch.autocast(rows.device.type, enabled=False):
            return (grad + grad.T) @ rows


def cosine_affinity(rows: Tensor, *, eps: float = 1e-12) -> Tensor:
    """Cosines of all pairs of rows (n, D), (n, n) in -1..1.

    A cosine does not depend on the width D, so edges of networks of different width are comparable.
    The length of a row is clamped: its square counts as `eps` or more, and a row of zeros has
    cosine 0 with every other row.
    """
    gram = _Gram.apply(rows)
    scale = gram.diagonal().clamp(min=eps).rsqrt()
    return gram * scale[:, None] * scale[None]


def class_sums(rows: Tensor, labels: Tensor, *, num_labels: int) -> Tensor:
    """Sums of the rows (n, C) by label, and the number of rows in the last column; zeros for a
    label without rows. Labels are (n,) int64 in 0..num_labels - 1. Returns (num_labels, C + 1).
    """
    member = (labels[:, None] == torch.arange(num_labels, device=labels.device)).to(rows)
    return member.T @ torch.cat([rows, rows.new_ones(len(rows), 1)], 1)


def within_class_scatter(rows: Tensor, labels: Tensor, *, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Scatter matrix of (n, C) rows around the means of their classes.

    Args:
        rows: (n, C) descriptors.
        labels: (n,) int64 in 0..num_labels - 1.
        sums: `class_sums` of these rows, or of a larger batch that contains them; the class means
            are taken from it.

    Returns:
        The (C, C) scatter and its degrees of freedom (scalar, 0 without rows): the number of rows
        minus the number of classes. A part of a batch gets its share of the batch's degrees of
        freedom by rows, so that scatter and degrees of freedom can be summed over the parts.
    """
    counts = sums[:, -1]
    means = sums[:, :-1] / counts.clamp(min=1)[:, None]
    rest = rows - means[labels]
    share = len(rows) / counts.sum().clamp(min=1)
    return rest.T @ rest, len(rows) - share * (counts > 0).sum()


def covariance_factor(scatter: Tensor, dof: Tensor, *, min_shrinkage: float) -> Tensor:
    """Cholesky factor (C, C) of the shrunk covariance `scatter / dof`.

    The shrinkage towards the scaled identity is the OAS estimate, but at least `min_shrinkage`. The
    factor is the identity without degrees of freedom, and diagonal if the factorisation fails.
    """
    width = len(scatter)
    identity = torch.eye(width, dtype=scatter.dtype, device=scatter.device)
    covariance = scatter / dof.clamp(min=1)
    level = covariance.diagonal().mean()
    rho = oas_shrinkage(covariance, count=dof, width=width).clamp(min=min_shrinkage)
    level = torch.where((dof > 0) & (level > 0), level, torch.ones_like(level))
    shrunk = torch.lerp(covariance, level * identity, rho) if min_shrinkage > 0 else covariance
    factor, failed = torch.linalg.cholesky_ex(shrunk)
    usable = (failed == 0) & (dof > 0)
    return torch.where(usable, factor, level.sqrt() * identity)


def squared_mahalanobis(rows: Tensor, factor: Tensor) -> Tensor:
    """D2 of all pairs of rows (n, C) under the covariance `factor @ factor.T`, (n, n) >= 0.

    `factor` is (C, C) lower triangular with a positive diagonal. The mean D2 of two samples of one
    class is 2 C.
    """
    if not len(rows):
        return rows.new_zeros(0, 0)
    # Centring does not change differences of rows, but keeps the Gram matrix small and exact.
    centred = rows - rows.detach().mean(0)
    white = torch.linalg.solve_triangular(factor, centred.T, upper=False).T
    gram = white @ white.T
    lengths = gram.diagonal()
    return (lengths[:, None] + lengths[None] - 2 * gram).clamp(min=0)


def mahalanobis_affinity(rows: Tensor, factor: Tensor) -> Tensor:
    """`exp(-D2 / (2 C))` of all pairs, in 0..1; see `squared_mahalanobis`.

    The scale 2 C is the mean D2 of two samples of one class. So affinities are comparable between
    pages and between networks of different width.
    """
    return torch.exp(squared_mahalanobis(rows, factor) / (-2.0 * rows.shape[1]))


def variation(distances: Tensor, present: Tensor) -> Tensor:
    """Coefficient of variation of `distances` (n, n) over the pairs of different nodes that are
    present; 0 without a pair.

    It is logged because it can be 0: with the covariance of the same n <= C + 1 rows, D2 is
    2 (n - 1) for every pair, and nothing can be learned from such edges.
    """
    pairs = _pairs(present)
    count = pairs.sum().clamp(min=1)
    mean = torch.where(pairs, distances, 0).sum() / count
    variance = torch.where(pairs, (distances - mean).square(), 0).sum() / count
    return variance.sqrt() / mean.clamp(min=1e-12)


def mahalanobis_weights(distances: Tensor, present: Tensor) -> Tensor:
    """Edge weights (n, n): the teacher's D2 divided by its median over the nodes `present` (n,);
    all 1 if there is no pair. They are limited to 0.1..10, so that no edge counts more than ten
    times the median one.
    """
    pairs = _pairs(present)
    median = torch.where(pairs, distances, torch.nan).flatten().nanmedian()
    usable = median > 1e-12
    weights = (distances / torch.where(usable, median, 1.0)).clamp(0.1, 10.0)
    return torch.where(usable, weights, torch.ones_like(weights))


def _pairs(present: Tensor) -> Tensor:
    diagonal = torch.eye(len(present), dtype=torch.bool, device=present.device)
    return present[:, None] & present[None] & ~diagonal
