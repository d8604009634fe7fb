"""The `fine_grained` method: FPN cells whose anchors lie near an object."""

import torch
from torch import Tensor, stack
from torchvision.ops import box_iou

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import anchor_grids, mean_of_present
from graphkd.distill.losses.levels import (
    LevelPair,
    level_adapters,
    level_pairs,
    reference_width,
)
from graphkd.distill.losses.options import need_anchors, number, one_of
from graphkd.distill.outputs import Outputs, Targets


def near_object_cells(boxes: Tensor, grids: list[Tensor], *, ratio: float) -> list[Tensor]:
    """Cells with an anchor that overlaps some box more than `ratio` times that box's best anchor.

    Args:
        boxes: (G, 4) ground truth.
        grids: per level (h, w, A, 4) anchors; the best anchor is sought on all levels.
        ratio: 0..1.

    Returns:
        Per level (h, w) bool.
    """
    anchors = torch.cat([grid.reshape(-1, 4) for grid in grids])
    overlaps = box_iou(boxes, anchors)
    near = (overlaps > ratio * overlaps.amax(1, keepdim=True)).any(0)
    parts = near.split([grid[..., 0].numel() for grid in grids])
    return [part.reshape(grid.shape[:3]).any(2) for part, grid in zip(parts, grids, strict=True)]


def imitation(pairs: list[LevelPair], masks: list[Tensor]) -> Tensor:
    """Half the squared error summed over channels, a mean over the masked cells of all levels.

    Args:
        pairs: levels of both networks, (N, C, h, w).
        masks: per level (N, h, w) bool.

    Returns:
        A scalar, the mean over images that have masked cells; 0 if none has.
    """
    total, count = 0.0, 0.0
    for pair, mask in zip(pairs, masks, strict=True):
        error = (pair.student - pair.teacher).square().sum(1)
        total = total + torch.where(mask, error, torch.zeros_like(error)).sum((1, 2))
        count = count + mask.sum((1, 2))
    return mean_of_present(total / (2 * count.clamp(min=1)), count > 0)


@register("fine_grained")
class FineGrained(DistillLoss):
    """Squared error on cells near objects.

    Source: Wang et al., Distilling Object Detectors with Fine-grained Feature Imitation, section 3,
    and the released code for the start of the adapters.
    Differs from the paper: FPN levels in place of one map, with the best anchor of an object sought
    on all of them, and no ReLU after the adapter, as FPN maps are negative too; the cells of each
    image are its own divisor, so every image weighs the same; the sum over channels is times
    `levels.reference_width`.
    """

    needs = frozenset({"features"})
    reads = frozenset({"boxes", "anchors"})

    def __init__(self, context: LossContext, *, ratio: float = 0.5, start: str = "small"):
        """Makes the adapters.

        Args:
            context: facts about the pair.
            ratio: share of the best anchor's overlap that an anchor needs, 0..1.
            start: of the 3x3 convolutions from student to teacher channels, which are there at
                equal widths too: small (almost 0, the release) or identity (ours).
        """
        super().__init__()
        need_anchors(context, shared=False)
        self.ratio = number("ratio", ratio, most=1)
        start = one_of("start", start, ("small", "identity"))
        self.adapters = level_adapters(context, kernel=3, start=start)
        self.width = reference_width(context)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `features`."""
        pairs = level_pairs(student, teacher, targets, adapters=self.adapters)
        sizes = [tuple(each.shape[-2:]) for each in student.features.values()]
        by_level = dict(zip(student.features, anchor_grids(targets, sizes), strict=True))
        grids = [by_level[pair.name][: pair.size[0], : pair.size[1]] for pair in pairs]
        images = [near_object_cells(boxes, grids, ratio=self.ratio) for boxes in targets.boxes]
        masks = [stack(level) for level in zip(*images, strict=True)]
        return {"features": self.width * imitation(pairs, masks)}
