"""The text / non-text test on feature covariance and ways to find its threshold.

Evidence: regions are sorted into text and non-text by their covariance [paper]; text has the higher
covariance [2nd], but varies over fewer directions on every page set measured here; the statistic,
its calibration and the guards [ours].
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

BINS = 80
LIMIT = 4.0


class TextThreshold(NamedTuple):
    """A 1-D text test: text where `sign * (score - value) > 0`.

    Attributes:
        value: scalar threshold in z-scores.
        sign: scalar, 1 where text scores high, -1 where it scores low.
        auc: scalar in 0.5..1, how well the score separates text from non-text classes under this
            sign; 0.5 where one of them was never seen.
    """

    value: Tensor
    sign: Tensor
    auc: Tensor


def covariance_spread(features: Tensor, *, shrink: float = 0.1, eps: float = 1e-6) -> Tensor:
    """The covariance statistic c of every region: over how many directions its cells vary.

    `c = log det(K / (tr K / m) + shrink * I)` with K the (m, m) Gram matrix of the region's m = h *
    w centred cells, which has the eigenvalues of their covariance. Dividing by the mean eigenvalue
    takes out the size of the features; the shrinkage keeps the log determinant finite, as K has
    rank <= m - 1.

    Args:
        features: (n, C, h, w) with h * w >= 2.
        shrink: added to eigenvalues whose mean is 1, above 0.
        eps: least trace, so that constant features have a finite score (the lowest one).

    Returns:
        (n,) scores without unit, m log(shrink) .. m log(1 + shrink).
    """
    cells = features.flatten(2)
    cells = cells - cells.mean(2, keepdim=True)
    gram = cells.transpose(1, 2) @ cells
    count = gram.shape[1]
    trace = gram.diagonal(dim1=1, dim2=2).sum(1).clamp(min=eps)
    identity = torch.eye(count, dtype=gram.dtype, device=gram.device)
    relative = gram * (count / trace)[:, None, None] + shrink * identity
    factor = torch.linalg.cholesky_ex(relative).L
    return 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)


def score_histogram(scores: Tensor, is_text: Tensor, weights: Tensor) -> Tensor:
    """Counts z-scores (n,) in `BINS` bins over -4..4, the outer bins open.

    `is_text` (n,) says whether a region's class is text, `weights` (n,) is 1 to count it and 0 to
    leave it out. Returns (2, BINS): row 0 non-text, row 1 text.
    """
    bins = ((scores.clamp(-LIMIT, LIMIT) + LIMIT) * (BINS / (2 * LIMIT))).long().clamp(0, BINS - 1)
    counts = scores.new_zeros(2 * BINS)
    return counts.index_add(0, bins + BINS * is_text.long(), weights.to(counts)).view(2, BINS)


def fit_threshold(histogram: Tensor) -> TextThreshold:
    """The threshold and sign of best balanced accuracy (Youden's J), with the area under the curve,
    of a (2, BINS) `score_histogram`, decayed or not.
    """
    totals = histogram.sum(1, keepdim=True)
    nontext, text = histogram / totals.clamp(min=1e-12)
    nontext_below, text_below = nontext.cumsum(0), text.cumsum(0)
    auc = (text * (nontext_below - 0.5 * nontext)).sum()
    auc = torch.where((totals > 0).all(), auc, 0.5 * torch.ones_like(auc))
    sign = torch.where(auc >= 0.5, 1.0, -1.0).to(auc)
    gain = sign * (nontext_below - text_below)
    edges = torch.arange(1, BINS + 1, device=gain.device, dtype=gain.dtype)
    edges = edges * (2 * LIMIT / BINS) - LIMIT
    best = _longest_run(gain >= gain.max() - 1e-6).to(gain)
    return TextThreshold((edges * best).sum() / best.sum(), sign, torch.maximum(auc, 1 - auc))


def _longest_run(marked: Tensor) -> Tensor:
    """The first of the longest runs of neighbouring True values of a (n,) bool tensor, alone.

    Thresholds of one run part the regions alike, so their middle is as good as they are; the middle
    between two runs is not.
    """
    starts = marked & ~F.pad(marked[:-1], (1, 0))
    runs = starts.cumsum(0)
    lengths = runs.new_zeros(len(marked) + 1).index_add(0, runs, marked.to(runs))
    return marked & (runs == lengths.argmax())


def otsu_threshold(scores: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Otsu's threshold of the scores (n,) of one image where `counted` (n,) holds, exact over all
    splits.

    Returns:
        The threshold (the middle of the gap) and the share of variance between the two sides, 0..1;
        both 0 where fewer than two scores count. A plain Gaussian gives a share of 0.64, a uniform
        sample 0.75.
    """
    if len(scores) < 2:
        return scores.new_zeros(()), scores.new_zeros(())
    count = counted.sum()
    sorted_scores = torch.where(counted, scores, torch.inf).sort().values
    finite = torch.where(sorted_scores.isfinite(), sorted_scores, 0)
    mean = finite.sum() / count.clamp(min=1)
    finite = torch.where(sorted_scores.isfinite(), finite - mean, 0)
    below = torch.arange(1, len(scores), device=scores.device, dtype=scores.dtype)
    above = count - below
    sums = finite.cumsum(0)[:-1]
    between = torch.where(above > 0, sums.square() / (below * above.clamp(min=1)), 0)
    share, split = between.max(0)
    share = share / (finite.square().sum() / count.clamp(min=1)).clamp(min=1e-12) * (count > 1)
    return (finite[split] + finite[split + 1]) / 2 + mean, share.clamp(0, 1)
