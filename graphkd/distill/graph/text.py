"""The text / non-text test on feature covariance, and how its threshold is found.

Evidence: regions are sorted into text and non-text by their covariance [paper]; text has the higher
covariance [2nd], although text varies in fewer directions on every page set measured here; the
statistic, its calibration and the guards [ours].
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

# Histogram of z-scores: bins of 0.1 over -4..4; scores beyond that count in the outer bins.
BINS = 80
LIMIT = 4.0


class TextThreshold(NamedTuple):
    """A 1-D text test: text where `sign * (score - value) > 0`.

    Attributes:
        value: scalar threshold in z-scores.
        sign: scalar, 1 where text scores high, -1 where it scores low.
        auc: scalar in 0.5..1, area under the ROC curve of text against non-text with this sign;
            0.5 if only one of the two has been seen.
    """

    value: Tensor
    sign: Tensor
    auc: Tensor


def covariance_spread(features: Tensor, *, shrink: float = 0.1, eps: float = 1e-6) -> Tensor:
    """The covariance statistic c of every region. It is larger if the region's cells vary in more
    directions.

    `c = log det(K / (tr K / m) + shrink * I)`, where K is the (m, m) Gram matrix of the region's
    m = h * w centred cells. K has the non-zero eigenvalues of their covariance, up to a factor.
    Dividing by the mean eigenvalue removes the scale of the features. The shrinkage keeps the log
    determinant finite, since the rank of K is at most m - 1.

    Args:
        features: (n, C, h, w) with h * w >= 2.
        shrink: added to the eigenvalues, whose mean is 1; above 0. The default 0.1 is a compromise:
            smaller values separate text better, but then the score follows the area of a box.
        eps: lowest trace, so that constant features have a finite score (the lowest one).

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
    # The log determinant of a Cholesky factor; cholesky_ex does not wait for the GPU.
    factor = torch.linalg.cholesky_ex(relative).L
    return 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)


def score_histogram(scores: Tensor, is_text: Tensor, weights: Tensor) -> Tensor:
    """Counts z-scores (n,) in `BINS` bins over -4..4, the outer bins open.

    `is_text` (n,) is True for regions of a text class; `weights` (n,) is 1 for regions that count
    and 0 for the others. Returns (2, BINS): row 0 non-text, row 1 text.
    """
    bins = ((scores.clamp(-LIMIT, LIMIT) + LIMIT) * (BINS / (2 * LIMIT))).long().clamp(0, BINS - 1)
    counts = scores.new_zeros(2 * BINS)
    return counts.index_add(0, bins + BINS * is_text.long(), weights.to(counts)).view(2, BINS)


def fit_threshold(histogram: Tensor) -> TextThreshold:
    """Finds threshold and sign of the best balanced accuracy (Youden's J) from a (2, BINS)
    `score_histogram`, and the area under the ROC curve. The histogram may be a running one.
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
    # Gains that differ by rounding count as equal.
    best = _longest_run(gain >= gain.max() - 1e-6).to(gain)
    return TextThreshold((edges * best).sum() / best.sum(), sign, torch.maximum(auc, 1 - auc))


def _longest_run(marked: Tensor) -> Tensor:
    """Keeps only the longest run of True values in a (n,) bool tensor, the first one of a tie.

    All thresholds in one run split the regions equally well, so the middle of the run is as good as
    its ends. The middle between two separate runs may be worse.
    """
    starts = marked & ~F.pad(marked[:-1], (1, 0))
    runs = starts.cumsum(0)
    lengths = runs.new_zeros(len(marked) + 1).index_add(0, runs, marked.to(runs))
    return marked & (runs == lengths.argmax())


def otsu_threshold(scores: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Otsu's threshold of the scores (n,) of one image where `counted` (n,) is True. All splits are
    tried, without a histogram.

    Returns:
        The threshold (the middle of the gap) and the share of the variance between the two sides,
        0..1; both 0 if fewer than two scores count. The share is 0.64 for a Gaussian and 0.75 for a
        uniform distribution, so only a larger share shows two groups.
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
