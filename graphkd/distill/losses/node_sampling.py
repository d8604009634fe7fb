"""Which rows of a batch of regions become nodes; the rule is in graph/nodes.py."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from graphkd.distill.graph.nodes import background_cross_entropy, keep_distinct, select_regions
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
    teacher: Regions,
    targets: Targets,
    *,
    max_background: int,
    background_ce: float,
    max_iou: float = 0.0,
) -> SampledNodes:
    """All foreground and the teacher's hardest background of every image.

    Args:
        teacher: the teacher's regions, with logits where background is mined or near copies go.
        targets: the student's labels of the same regions.
        max_background: at most this many background nodes an image; 0 for none.
        background_ce: least background cross entropy of the teacher.
        max_iou: of near copies that overlap more, the one the teacher holds least for background
            stays; 0 keeps all.
    """
    labels, counts = targets.region_labels, list(teacher.counts)
    losses = None
    if max_background > 0 or max_iou > 0:
        losses = background_cross_entropy(teacher.logits)
    chosen = []
    losses_by_image = losses.split(counts) if losses is not None else [None] * len(counts)
    for boxes, own, surprise in zip(
        teacher.boxes, labels.split(counts), losses_by_image, strict=True
    ):
        keep = None
        if max_iou > 0:
            keep = keep_distinct(boxes, own, surprise, max_iou=max_iou)
        chosen.append(
            select_regions(
                own,
                background=targets.num_classes,
                background_losses=surprise,
                min_loss=background_ce,
                max_background=max_background,
                keep=keep,
            )
        )
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


def roi_adapter(student_channels: int, teacher_channels: int) -> nn.Module:
    """A 1x1 convolution from the student's width to the teacher's, near-orthogonal; the
    identity where they agree.
    """
    if student_channels == teacher_channels:
        return nn.Identity()
    adapter = nn.Conv2d(student_channels, teacher_channels, 1)
    nn.init.orthogonal_(adapter.weight)
    nn.init.zeros_(adapter.bias)
    return adapter
