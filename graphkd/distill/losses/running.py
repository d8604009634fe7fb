"""Running statistics that the graph losses keep as buffers.

All of them are decayed sums, so that processes are joined by adding and the first batch already
counts fully.
"""

import torch
from torch import Tensor, nn

from graphkd.distill.comm import sum_over_processes
from graphkd.distill.graph.text import BINS, TextThreshold, fit_threshold, score_histogram


class RunningScores(nn.Module):
    """Per-level mean and deviation of the text statistic, and the histograms of its z-scores."""

    def __init__(self, *, levels: int, decay: float):
        """Starts empty.

        Args:
            levels: FPN levels; z-scores are taken within one.
            decay: share of the old sums that stays after a batch, 0..1.
        """
        super().__init__()
        self.decay = decay
        # Scores lie far from 0 and close together: their squares cancel in float32.
        self.register_buffer("moments", torch.zeros(3, levels, dtype=torch.float64))
        self.register_buffer("histogram", torch.zeros(2, BINS))

    def update_moments(self, scores: Tensor, levels: Tensor, counted: Tensor) -> None:
        """Adds a batch: scores (n,), int64 levels (n,), and 1 or 0 to count them (n,)."""
        scores = scores.double()
        counted = counted.to(scores)
        rows = torch.stack([counted, scores * counted, scores.square() * counted])
        sums = torch.zeros_like(self.moments).index_add(1, levels, rows)
        self.moments.mul_(self.decay).add_(sum_over_processes(sums))

    def standardise(self, scores: Tensor, levels: Tensor) -> Tensor:
        """(n,) z-scores of (n,) scores; 0 where the level was never seen."""
        count, first, second = self.moments
        mean = first / count.clamp(min=1e-6)
        deviation = (second / count.clamp(min=1e-6) - mean.square()).clamp(min=0).sqrt()
        usable = (count > 0) & (deviation > 1e-4)
        scaled = (scores - mean[levels]) / torch.where(usable, deviation, 1.0)[levels]
        return torch.where(usable[levels], scaled, 0).to(scores)

    def update_histogram(self, scores: Tensor, is_text: Tensor, counted: Tensor) -> None:
        """Adds a batch of z-scores (n,) with their classes (n,) bool."""
        batch = sum_over_processes(score_histogram(scores, is_text, counted.to(scores)))
        self.histogram.mul_(self.decay).add_(batch)

    @property
    def seen_both(self) -> bool:
        """Whether regions of text classes and of other classes were counted; waits for a GPU."""
        return bool((self.histogram.sum(1) > 0).all())

    def threshold(self) -> TextThreshold:
        """The threshold of best balanced accuracy so far."""
        return fit_threshold(self.histogram)


class RunningScatter(nn.Module):
    """Pooled within-class scatter of region descriptors and its degrees of freedom."""

    def __init__(self, *, width: int, decay: float):
        """Starts empty.

        Args:
            width: C of the descriptors.
            decay: share of the old sums that stays after a batch, 0..1.
        """
        super().__init__()
        self.decay = decay
        self.register_buffer("scatter", torch.zeros(width, width))
        self.register_buffer("dof", torch.zeros(()))

    def update(self, scatter: Tensor, dof: Tensor) -> None:
        """Adds the (C, C) scatter of a batch and its degrees of freedom."""
        joined = sum_over_processes(torch.cat([scatter.flatten(), dof.reshape(1)]))
        self.scatter.mul_(self.decay).add_(joined[:-1].view_as(self.scatter))
        self.dof.mul_(self.decay).add_(joined[-1])
