"""The `imitation` method: squared error of FPN cells chosen by a mask."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from graphkd.distill.comm import count_per_process
from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.bckd import decoded
from graphkd.distill.losses.build import register
from graphkd.distill.losses.dense_cells import (
    all_anchors,
    anchors_on_pages,
    read_assignment,
    shared_cells,
    valuable_region,
)
from graphkd.distill.losses.fine_grained import near_object_cells
from graphkd.distill.losses.functional import anchor_grids
from graphkd.distill.losses.levels import level_adapters, level_pairs
from graphkd.distill.losses.options import (
    need_anchors,
    need_dense_head,
    need_same_classes,
    number,
    one_of,
)
from graphkd.distill.outputs import Outputs, Targets

# What each mask reads besides features and anchors: parts of `Outputs` and of `Targets`.
MASKS = {
    "gt": ((), ("boxes",)),
    "fine_grained": ((), ("boxes",)),
    "decoupled": ((), ("boxes",)),
    "gi": (("dense",), ()),
    "main": ((), ("assignment",)),
    "vlr": ((), ("boxes", "assignment")),
}
# Factor of the cells outside objects in `decoupled`.
OUTSIDE = 2.0
# General instances: suppressed by this IoU, and so many kept a level of each image.
GI_OVERLAP, GI_CELLS = 0.3, 10
# Only the cells of largest gap can be among those kept; the others need no IoU.
GI_CANDIDATES = 1000


def inside_boxes(anchors: Tensor, boxes: Sequence[Tensor]) -> Tensor:
    """Whether the centre of an anchor lies in any box: (N, A) bool of (A, 4) and N times (G, 4)."""
    x, y = ((anchors[:, :2] + anchors[:, 2:]) / 2).unbind(1)
    pages = [
        ((x > own[:, :1]) & (x < own[:, 2:3]) & (y > own[:, 1:2]) & (y < own[:, 3:])).any(0)
        for own in boxes
    ]
    return torch.stack(pages)


def general_instances(gap: Tensor, boxes: Tensor, counts: Sequence[int]) -> Tensor:
    """The cells where two networks disagree most, apart from each other.

    Source: Dai et al., General Instance Distillation for Object Detection (CVPR 2021), section 3.1,
    with ten cells a level as in the released code of LD.
    Differs from that code: ten of each image, not of the batch.

    Args:
        gap: (N, n) how far the scores are apart; below 0 for cells that are never taken.
        boxes: (N, n, 4) the box of the surer network.
        counts: cells of each level; sums to n.

    Returns:
        (N, n) bool.
    """
    chosen, first = torch.zeros_like(gap, dtype=torch.bool), 0
    for count in counts:
        values, places = gap[:, first : first + count].topk(min(count, GI_CANDIDATES), 1)
        places = places + first
        for image, (own, where) in enumerate(zip(values, places, strict=True)):
            where, own = where[own >= 0], own[own >= 0]
            groups = torch.zeros_like(where)
            kept = batched_nms(boxes[image, where], own, groups, GI_OVERLAP)[:GI_CELLS]
            chosen[image, where[kept]] = True
        first += count
    return chosen


@register("imitation")
class Imitation(DistillLoss):
    """Squared error of FPN maps on masked cells, a mean over the cells of a level.

    Source: the released code of Zheng et al., Localization Distillation for Dense Object Detection,
    which compares these masks.
    Differs from it: 1x1 adapters where the widths differ; means over the cells of the batch on all
    processes; `decoupled` compares the same cells of both networks; cells beyond the page enter no
    term.
    """

    needs = frozenset({"features"})
    reads = frozenset({"boxes", "anchors"})

    def __init__(self, context: LossContext, *, mask: str = "fine_grained", gamma: float = 0.25):
        """Makes the adapters.

        Args:
            context: facts about the pair.
            mask: gt: the anchor's centre is in a box. fine_grained: an anchor overlaps a box more
                than half as much as that box's best one. decoupled: gt, and all other cells twice
                as strongly. gi: the ten cells a level of each image where class scores are
                furthest apart. main: anchors that are trained on an object. vlr: the valuable
                localization region of `ld`.
            gamma: lower end of the region of `vlr` as a share of the upper, 0..1.
        """
        super().__init__()
        self.mask = one_of("mask", mask, tuple(MASKS))
        need_anchors(context, shared=mask == "gi")
        outputs, targets = MASKS[mask]
        self.needs = frozenset({"features", *outputs})
        self.reads = frozenset({"anchors", *targets})
        if mask == "gi":
            need_dense_head(context)
            need_same_classes(context, remedy="choose another MASK")
        self.num_classes = context.num_classes
        self.gamma = number("gamma", gamma, most=1)
        self.adapters = level_adapters(context)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `features`."""
        pairs = level_pairs(student, teacher, targets, adapters=self.adapters)
        sizes = [tuple(each.shape[-2:]) for each in student.features.values()]
        grids = anchor_grids(targets, sizes)
        anchors = all_anchors(targets)
        valid = anchors_on_pages(anchors, targets.image_sizes)
        chosen = self._chosen(student, teacher, targets, anchors, valid) & valid
        parts = [(1.0, chosen)]
        if self.mask == "decoupled":
            parts.append((OUTSIDE, valid & ~chosen))
        counts = [grid[..., 0].numel() for grid in grids]
        terms = []
        for factor, mask in parts:
            levels = dict(zip(student.features, mask.split(counts, 1), strict=True))
            shapes = dict(zip(student.features, grids, strict=True))
            for pair in pairs:
                cells = levels[pair.name].reshape(len(mask), *shapes[pair.name].shape[:3]).any(3)
                cells = cells[:, : pair.size[0], : pair.size[1]]
                error = (pair.student - pair.teacher).square().mean(1)
                kept = torch.where(cells, error, torch.zeros_like(error))
                terms.append(factor * kept.sum() / count_per_process(cells.sum()))
        return {"features": torch.stack(terms).sum()}

    def _chosen(
        self,
        student: Outputs,
        teacher: Outputs,
        targets: Targets,
        anchors: Tensor,
        valid: Tensor,
    ) -> Tensor:
        """(N, A) bool, the masked anchors."""
        if self.mask in ("gt", "decoupled"):
            return inside_boxes(anchors, targets.boxes)
        if self.mask == "fine_grained":
            grid = [anchors.reshape(-1, 1, 1, 4)]
            pages = [near_object_cells(own, grid, ratio=0.5)[0].flatten() for own in targets.boxes]
            return torch.stack(pages)
        if self.mask == "main":
            return torch.stack(read_assignment(targets).owners) >= 0
        if self.mask == "vlr":
            return valuable_region(targets, gamma=self.gamma) > 0
        return self._general_instances(student, teacher, anchors, valid)

    def _general_instances(
        self, student: Outputs, teacher: Outputs, anchors: Tensor, valid: Tensor
    ) -> Tensor:
        own, other = student.dense, teacher.dense
        cells = shared_cells(own, other)
        with torch.no_grad():
            rows = cells.rows(own.logits, other.logits, widths=(self.num_classes,) * 2)
            if own.quality is not None and other.quality is not None:
                factors = cells.rows(own.quality, other.quality, widths=(1, 1))
            else:
                factors = (1.0, 1.0)
            seen, wanted = (
                each.sigmoid() * factor for each, factor in zip(rows, factors, strict=True)
            )
            places = anchors[cells.index].repeat(len(valid), 1)
            boxes = [
                decoded(head, deltas.flatten(0, 1), places).unflatten(0, deltas.shape[:2])
                for head, deltas in zip(
                    (own, other), cells.rows(own.deltas, other.deltas, widths=(4, 4)), strict=True
                )
            ]
            surer = wanted.amax(2, keepdim=True) > seen.amax(2, keepdim=True)
            gap = (wanted - seen).abs().amax(2).masked_fill(~valid[:, cells.index], -1.0)
            found = general_instances(gap, torch.where(surer, boxes[1], boxes[0]), cells.counts)
        chosen = torch.zeros_like(valid)
        chosen[:, cells.index] = found
        return chosen
