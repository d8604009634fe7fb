"""Decides which nodes are text, from the teacher's features, the labels or the teacher's classes.

Evidence: text and non-text are sorted by feature covariance [paper]; statistic, threshold, sign and
guards [ours].
"""

import logging

import torch
from torch import Tensor, nn

from graphkd.distill.comm import sum_over_processes
from graphkd.distill.graph.nodes import BACKGROUND, NONTEXT, TEXT
from graphkd.distill.graph.text import (
    BINS,
    TextThreshold,
    covariance_spread,
    fit_threshold,
    otsu_threshold,
    score_histogram,
)
from graphkd.distill.losses.base import LossContext
from graphkd.distill.losses.teacher_graph import SampledNodes

NODE_TYPES = ("covariance", "gt_class", "teacher_class", "none")
THRESHOLDS = ("calibrated", "otsu", "fixed")
MIN_AUC = 0.6
MIN_OTSU = 0.8
MIN_OTSU_NODES = 16


class RunningScores(nn.Module):
    """Per-level mean and deviation of the text statistic, and the histograms of its z-scores.

    All are decayed sums, so that processes are joined by adding and the first batch counts fully.
    """

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


class TextTest(nn.Module):
    """Gives every node a type.

    Attributes:
        log: detached scalars of the last call.
    """

    def __init__(
        self,
        context: LossContext,
        *,
        node_type: str,
        threshold: str,
        fixed_threshold: float,
        text_is_high: bool,
        decay: float,
    ):
        """Takes the options of the same names of the `graphkd` loss.

        Raises:
            ValueError: the data set or the pair lacks what the choice needs.
        """
        super().__init__()
        calibrated = node_type == "covariance" and threshold == "calibrated"
        if context.text_classes is None and (calibrated or node_type.endswith("_class")):
            raise ValueError(
                "needs to know which classes are text; list them in the data set's entry, or set "
                "NODE_TYPE: covariance with THRESHOLD: otsu or fixed"
            )
        if node_type == "teacher_class" and not context.same_classes:
            raise ValueError(
                "NODE_TYPE: teacher_class needs the same class list in teacher and student; set "
                "NODE_TYPE: covariance"
            )
        self.node_type, self.mode = node_type, threshold
        self.fixed, self.high = fixed_threshold, text_is_high
        table = torch.zeros(context.num_classes + 1, dtype=torch.bool)
        table[list(context.text_classes or ())] = True
        self.register_buffer("text_table", table, persistent=False)
        self.running = None
        if node_type == "covariance":
            self.running = RunningScores(levels=max(len(context.levels), 1), decay=decay)
        self.warned: set[bool] = set()
        self.log: dict[str, Tensor] = {}

    @torch.no_grad()
    def forward(
        self, features: Tensor, nodes: SampledNodes, teacher_logits: Tensor | None, *, update: bool
    ) -> Tensor:
        """Types of all nodes of a batch.

        Args:
            features: (N, C, h, w) the teacher's.
            nodes: the N nodes.
            teacher_logits: (N, K + 1); only read for `teacher_class`.
            update: whether the running statistics learn from this batch.

        Returns:
            (N,) int64 `TEXT`, `NONTEXT` or `BACKGROUND`.
        """
        self.log = {}
        foreground = nodes.labels < len(self.text_table) - 1
        if self.node_type == "none":
            is_text = torch.zeros_like(foreground)
        elif self.node_type == "gt_class":
            is_text = self.text_table[nodes.labels]
        elif self.node_type == "teacher_class":
            is_text = self.text_table[teacher_logits[:, :-1].argmax(1)]
        else:
            is_text = self._by_covariance(features, nodes, foreground, update=update)
        kinds = torch.where(is_text, TEXT, NONTEXT)
        return torch.where(foreground, kinds, BACKGROUND)

    def _by_covariance(
        self, features: Tensor, nodes: SampledNodes, foreground: Tensor, *, update: bool
    ) -> Tensor:
        raw = covariance_spread(features)
        levels = nodes.levels.clamp(0, self.running.moments.shape[1] - 1)
        if update:
            self.running.update_moments(raw, levels, foreground)
        scores = self.running.standardise(raw, levels)
        if self.mode == "calibrated":
            return self._calibrated(scores, nodes, foreground, update=update)
        fixed = scores > self.fixed if self.high else scores < self.fixed
        if self.mode == "fixed":
            return fixed
        parts, accepted = [], []
        splits = (each.split(nodes.counts) for each in (scores, foreground, fixed))
        for own, counted, otherwise in zip(*splits, strict=True):
            value, share = otsu_threshold(own, counted)
            accepts = (share > MIN_OTSU) & (counted.sum() >= MIN_OTSU_NODES)
            parts.append(torch.where(accepts, own > value if self.high else own < value, otherwise))
            accepted.append(accepts.float())
        self.log["otsu_accepted"] = torch.stack(accepted).mean()
        return torch.cat(parts)

    def _calibrated(
        self, scores: Tensor, nodes: SampledNodes, foreground: Tensor, *, update: bool
    ) -> Tensor:
        by_class = self.text_table[nodes.labels]
        if update:
            self.running.update_histogram(scores, by_class, foreground)
        value, sign, auc = self.running.threshold()
        self.log["text_auc"] = auc
        self.log["text_sign"] = sign
        return torch.where(auc >= MIN_AUC, sign * (scores - value) > 0, by_class)

    def warn(self) -> None:
        """Logs where the class labels decide in place of the covariance, once for each reason."""
        auc = self.log.get("text_auc")
        if auc is None or float(auc) >= MIN_AUC:
            return
        both = self.running.seen_both
        reason = (
            f"feature covariance does not tell text from non-text here (AUC {float(auc):.2f}, "
            f"below {MIN_AUC})"
        )
        if not both:
            reason = "only text or only non-text classes were seen so far"
        if both not in self.warned:
            self.warned.add(both)
            logging.getLogger(__name__).warning(
                "graphkd: %s; the class labels decide instead", reason
            )
