"""What an edge between two nodes is: cosine or Mahalanobis affinity, and its weight.

Evidence: edges are cosine similarities of a complete graph [2nd, code of the parent DSIG]; the word
Mahalanobis distance [paper]; Mahalanobis affinities and edge weights with a running within-class
covariance are two readings of it [ours].
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

    The width cancels, so two networks of different width have comparable edges. A row whose squared
    length is below `eps` has cosine 0 with all and no gradient from its length.
    """
    gram = _Gram.apply(rows)
    scale = gram.diagonal().clamp(min=eps).rsqrt()
    return gram * scale[:, None] * scale[None]


def class_sums(rows: Tensor, labels: Tensor, *, num_labels: int) -> Tensor:
    """Sums of the rows (n, C) of every label and, in the last column, their number; zeros for a
    label without rows. Labels are (n,) int64 in 0..num_labels - 1; returns (num_labels, C + 1).
    """
    member = (labels[:, None] == torch.arange(num_labels, device=labels.device)).to(rows)
    return member.T @ torch.cat([rows, rows.new_ones(len(rows), 1)], 1)


def within_class_scatter(rows: Tensor, labels: Tensor, *, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of squares of (n, C) rows with (n,) int64 labels around the means of their classes.

    Args:
        rows: descriptors.
        labels: in 0..num_labels - 1.
        sums: `class_sums` of these rows, or of a larger batch that they are a part of, whose means
            and degrees of freedom then count.

    Returns:
        The (C, C) scatter and its degrees of freedom, n - classes present (scalar, 0 for no rows);
        of a part its share of them by rows, so that both add up over the parts.
    """
    counts = sums[:, -1]
    means = sums[:, :-1] / counts.clamp(min=1)[:, None]
    rest = rows - means[labels]
    share = len(rows) / counts.sum().clamp(min=1)
    return rest.T @ rest, len(rows) - share * (counts > 0).sum()


def covariance_factor(scatter: Tensor, dof: Tensor, *, min_shrinkage: float) -> Tensor:
    """Cholesky factor (C, C) of the shrunk covariance `scatter / dof`.

    The share of the scaled identity is `min_shrinkage` or the OAS estimate, where that is larger.
    The factor is the identity for no degrees of freedom, and diagonal where the factorisation
    fails.
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

    `factor` is (C, C) lower triangular with a positive diagonal. Two samples of one class have 2 C
    on average.
    """
    if not len(rows):
        return rows.new_zeros(0, 0)
    centred = rows - rows.detach().mean(0)
    white = torch.linalg.solve_triangular(factor, centred.T, upper=False).T
    gram = white @ white.T
    lengths = gram.diagonal()
    return (lengths[:, None] + lengths[None] - 2 * gram).clamp(min=0)


def mahalanobis_affinity(rows: Tensor, factor: Tensor) -> Tensor:
    """`exp(-D2 / (2 C))` of all pairs, in 0..1; see `squared_mahalanobis`.

    The scale 2 C is what two samples of the same class have on average, so it is the same for every
    page and comparable between networks of different width.
    """
    return torch.exp(squared_mahalanobis(rows, factor) / (-2.0 * rows.shape[1]))


def variation(distances: Tensor, present: Tensor) -> Tensor:
    """Coefficient of variation of `distances` (n, n) over the pairs of different present nodes; 0
    for no pair.

    With the covariance of the same n <= C + 1 rows, D2 is 2 (n - 1) for every pair and this is 0:
    such edges teach nothing.
    """
    pairs = _pairs(present)
    count = pairs.sum().clamp(min=1)
    mean = torch.where(pairs, distances, 0).sum() / count
    variance = torch.where(pairs, (distances - mean).square(), 0).sum() / count
    return variance.sqrt() / mean.clamp(min=1e-12)


def mahalanobis_weights(distances: Tensor, present: Tensor) -> Tensor:
    """Edge weights (n, n): the teacher's D2 over its median among the nodes `present` (n,), within
    0.1..10; 1 everywhere where there is no pair.
    """
    pairs = _pairs(present)
    median = torch.where(pairs, distances, torch.nan).flatten().nanmedian()
    usable = median > 1e-12
    weights = (distances / torch.where(usable, median, 1.0)).clamp(0.1, 10.0)
    return torch.where(usable, weights, torch.ones_like(weights))


def _pairs(present: Tensor) -> Tensor:
    diagonal = torch.eye(len(present), dtype=torch.bool, device=present.device)
    return present[:, None] & present[None] & ~diagonal
