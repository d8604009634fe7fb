"""What the teacher fixes about the graphs of a batch: which regions are nodes, the graph of every
image, the running covariance of its region features, and numbers for the log.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from graphkd.distill.comm import sum_over_processes
from graphkd.distill.graph.distance import ProfileMetric
from graphkd.distill.graph.edges import variation
from graphkd.distill.graph.nodes import (
    TEXT,
    NodePlan,
    background_cross_entropy,
    select_regions,
)
from graphkd.distill.outputs import Outputs, Regions, Targets


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
        teacher: the teacher's regions, with logits where background is mined.
        targets: the student's labels of the same regions.
        max_background: at most this many background nodes an image; 0 for none.
        background_ce: least background cross entropy of the teacher.
    """
    labels, counts = targets.region_labels, list(teacher.counts)
    losses = [None] * len(counts)
    if max_background > 0:
        losses = background_cross_entropy(teacher.logits).split(counts)
    chosen = [
        select_regions(
            own,
            background=targets.num_classes,
            background_losses=surprise,
            min_loss=background_ce,
            max_background=max_background,
        )
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


def one_image(teacher: Outputs, targets: Targets, image: int) -> tuple[Regions, Targets]:
    """The regions of a single image and what the data said about them."""
    counts = teacher.regions.counts
    part = slice(sum(counts[:image]), sum(counts[: image + 1]))

    def cut(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[part]

    regions = teacher.regions
    return (
        Regions(
            boxes=(regions.boxes[image],),
            features=regions.features[part],
            logits=cut(regions.logits),
            deltas=cut(regions.deltas),
        ),
        replace(
            targets,
            boxes=(targets.boxes[image],),
            classes=(targets.classes[image],),
            image_sizes=(targets.image_sizes[image],),
            region_labels=cut(targets.region_labels),
            region_boxes=cut(targets.region_boxes),
            region_levels=cut(targets.region_levels),
        ),
    )


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
    graphs = [graph for graph in graphs if len(graph.plan.regions)]
    if not graphs:
        return {}
    rows = []
    for graph in graphs:
        plan = graph.plan
        count = plan.present.sum()
        pairs = (count * (count - 1)).clamp(min=1)
        merged = (plan.is_text.sum(), plan.is_nontext.sum(), plan.is_background.sum())
        members = (plan.types == TEXT).sum()
        row = {
            "nodes_before": plan.sizes.sum(),
            "nodes": count,
            **dict(zip(("text", "nontext", "background"), merged, strict=True)),
            "text_share": members / (members + merged[1]).clamp(min=1),
            "edge_mean": (graph.edges.sum() - graph.edges.diagonal().sum()) / pairs,
        }
        if graph.metric is not None:
            row["metric_condition"] = graph.metric.condition
            row["metric_shrinkage"] = graph.metric.shrinkage
        if graph.distances is not None:
            row["d2_variation"] = variation(graph.distances, plan.present)
        rows.append(row)
    return {name: torch.stack([row[name].float() for row in rows]).mean() for name in rows[0]}


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
