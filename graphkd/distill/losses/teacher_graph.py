"""What the teacher fixes about the graphs of a batch: which regions are nodes, the graph of every
image, the running covariance of its region features, and numbers for the log.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graphkd.distill.comm import sum_over_processes
from graphkd.distill.graph.distance import ProfileMetric
from graphkd.distill.graph.edges import (
    class_sums,
    covariance_factor,
    variation,
    within_class_scatter,
)
from graphkd.distill.graph.nodes import (
    BACKGROUND,
    TEXT,
    TYPE_NAMES,
    NodePlan,
    background_cross_entropy,
    select_regions,
)
from graphkd.distill.outputs import Regions, Targets

MIN_SHRINKAGE = 0.1


@dataclass(frozen=True)
class SampledNodes:
    """The regions of a batch that are members of a graph, images concatenated in order.

    Attributes:
        regions: per image (n_i,) int64 rows among the image's own regions.
        boxes: per image (n_i, 4) in pixels of the teacher's input.
        rows: (N,) int64 rows in the batch's regions.
        labels: (N,) int64 class, K for background.
        levels: (N,) int64 FPN level index; 0 where unknown.
    """

    regions: tuple[Tensor, ...]
    boxes: tuple[Tensor, ...]
    rows: Tensor
    labels: Tensor
    levels: Tensor

    @property
    def counts(self) -> list[int]:
        """Members per image; sums to N."""
        return [len(regions) for regions in self.regions]


@torch.no_grad()
def sample_nodes(
    teacher: Regions, targets: Targets, *, max_background: int, background_ce: float
) -> SampledNodes:
    """All foreground and the teacher's hardest background of every image.

    Args:
        teacher: the teacher's regions, with logits unless `max_background` is 0.
        targets: the student's labels of the same regions.
        max_background: at most this many background nodes an image.
        background_ce: least background cross entropy of the teacher.
    """
    labels, counts = targets.region_labels, list(teacher.counts)
    losses = [None] * len(counts)
    if max_background > 0:
        losses = background_cross_entropy(teacher.logits).split(counts)
    limits = {"min_loss": background_ce, "max_background": max_background}
    chosen = [
        select_regions(own, background=targets.num_classes, background_losses=surprise, **limits)
        for own, surprise in zip(labels.split(counts), losses, strict=True)
    ]
    starts = [sum(counts[:image]) for image in range(len(counts))]
    offset = [rows + start for rows, start in zip(chosen, starts, strict=True)]
    rows = torch.cat(offset) if offset else labels.new_zeros(0)
    levels = targets.region_levels
    return SampledNodes(
        regions=tuple(chosen),
        boxes=tuple(boxes[own] for boxes, own in zip(teacher.boxes, chosen, strict=True)),
        rows=rows,
        labels=labels[rows],
        levels=torch.zeros_like(rows) if levels is None else levels[rows],
    )


def take(values: Tensor, rows: Tensor) -> Tensor:
    """`values[rows]` for ascending rows without repeats; no copy where that is all of them."""
    return values if len(rows) == len(values) else values.index_select(0, rows)


@dataclass(frozen=True)
class TeacherGraph:
    """What the teacher fixes for one image.

    Attributes:
        plan: regions to nodes.
        edges: (n, n) between nodes.
        metric: of edge profiles; None for Euclidean.
        weights: (n, n) of single edges; None for 1.
        distances: (n, n) D2 between nodes; None where no option reads it.
    """

    plan: NodePlan
    edges: Tensor
    metric: ProfileMetric | None
    weights: Tensor | None
    distances: Tensor | None


def describe_batch(graphs: list[TeacherGraph]) -> dict[str, Tensor]:
    """Detached numbers for the log, means over the images that have a node."""
    rows = []
    for graph in graphs:
        plan, count = graph.plan, graph.plan.present.sum()
        if not len(plan.regions):
            continue
        pairs = (count * (count - 1)).clamp(min=1)
        row = {
            "nodes_before": plan.sizes.sum(),
            "nodes": count,
            **{name: plan.of_type(kind).sum() for kind, name in enumerate(TYPE_NAMES)},
            "text_share": (plan.types == TEXT).sum()
            / (plan.types != BACKGROUND).sum().clamp(min=1),
            "edge_mean": (graph.edges.sum() - graph.edges.diagonal().sum()) / pairs,
        }
        if graph.metric is not None:
            row["metric_condition"] = graph.metric.condition
            row["metric_shrinkage"] = graph.metric.shrinkage
        if graph.distances is not None:
            row["d2_variation"] = variation(graph.distances, plan.present)
        rows.append(row)
    names = rows[0] if rows else ()
    return {name: torch.stack([row[name].float() for row in rows]).mean() for name in names}


class RunningScatter(nn.Module):
    """The pooled within-class covariance of region descriptors, as decayed sums of squares and of
    degrees of freedom, so that processes are joined by adding and the first batch counts fully.
    """

    def __init__(self, *, width: int, num_labels: int, decay: float):
        """Starts empty.

        Args:
            width: C of the descriptors.
            num_labels: classes, background included.
            decay: share of the old sums that stays after a batch, 0..1.
        """
        super().__init__()
        self.num_labels, self.decay = num_labels, decay
        self.register_buffer("scatter", torch.zeros(width, width))
        self.register_buffer("dof", torch.zeros(()))

    def update(self, rows: Tensor, labels: Tensor) -> None:
        """Adds a batch of descriptors (n, C) with their labels (n,) int64."""
        sums = sum_over_processes(class_sums(rows, labels, num_labels=self.num_labels))
        scatter, dof = within_class_scatter(rows, labels, sums=sums)
        joined = sum_over_processes(torch.cat([scatter.flatten(), dof.reshape(1)]))
        self.scatter.mul_(self.decay).add_(joined[:-1].view_as(self.scatter))
        self.dof.mul_(self.decay).add_(joined[-1])

    def factor(self) -> Tensor:
        """(C, C) Cholesky factor of the shrunk covariance."""
        return covariance_factor(self.scatter, self.dof, min_shrinkage=MIN_SHRINKAGE)
