"""ATSS, which decides on which object every anchor is trained."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphkd.distill.outputs import Assignment
from graphkd.modeling.dense.edges import paired_iou

# An anchor's centre must lie inside its object by more than this, in pixels.
LEAST_INSIDE = 0.01


class ATSS(nn.Module):
    """Adaptive training sample selection, without parameters.

    Per object the nearest anchors of every level are candidates. Those are positive whose IoU
    reaches the mean plus the standard deviation over all candidates, and whose centre is inside.

    Source: Zhang et al., Bridging the Gap Between Anchor-based and Anchor-free Detection, section
    3.3; the unbiased deviation and the margin of 0.01 px are those of the released code.
    Differs from it: a single candidate has a deviation of 0.

    Args:
        candidates: how many anchors of a level are candidates; all, where it has fewer.
    """

    def __init__(self, candidates: int = 9):
        super().__init__()
        self.candidates = candidates

    @torch.no_grad()
    def forward(
        self,
        anchors: Sequence[Tensor],
        boxes: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
        *,
        ignored: Sequence[Tensor] | None = None,
    ) -> Assignment:
        """Assigns the anchors of a batch.

        Args:
            anchors: per level (A_l, 4) x1 y1 x2 y2.
            boxes: per image (G_i, 4).
            image_sizes: per image (height, width) before padding; anchors whose centre is outside
                are not valid and get no object.
            ignored: per image (I_i, 4) boxes that are neither object nor background; anchors whose
                centre is inside are not valid unless they have an object. None for no such boxes.

        Returns:
            Owners and validity of all anchors, levels one after the other, and the IoU from which
            an anchor is positive.
        """
        counts = [len(each) for each in anchors]
        every = torch.cat(list(anchors))
        centres = (every[:, :2] + every[:, 2:]) / 2
        found = []
        for image, (own, (height, width)) in enumerate(zip(boxes, image_sizes, strict=True)):
            valid = (centres[:, 0] < width) & (centres[:, 1] < height)
            owners, thresholds = self._assign(every, centres, counts, valid, own.float())
            if ignored is not None:
                left, top, right, bottom = ignored[image].T[:, :, None]
                x, y = centres.T
                inside = (x > left) & (x < right) & (y > top) & (y < bottom)
                valid &= ~inside.any(0) | (owners >= 0)
            found.append((owners, valid, thresholds))
        return Assignment(*map(tuple, zip(*found, strict=True)))

    def _assign(
        self, anchors: Tensor, centres: Tensor, counts: list[int], valid: Tensor, boxes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Owners (A,) and thresholds (G,) of one image."""
        if not len(boxes):
            return torch.full_like(valid, -1, dtype=torch.int64), boxes.new_zeros(0)
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        distances = (middles[:, None] - centres).square().sum(2)
        distances = distances.masked_fill(~valid, torch.inf)
        near, first = [], 0
        for level in distances.split(counts, 1):
            count = min(self.candidates, level.shape[1])
            near.append(level.topk(count, 1, largest=False).indices + first)
            first += level.shape[1]
        place = torch.cat(near, 1)
        # Where a level has fewer valid anchors than candidates, the others do not count.
        there = valid[place]
        overlap = paired_iou(anchors[place], boxes[:, None])
        thresholds = _mean_plus_deviation(overlap, there)
        middle = centres[place]
        inside = torch.minimum(
            (middle - boxes[:, None, :2]).amin(2), (boxes[:, None, 2:] - middle).amin(2)
        )
        positive = there & (overlap >= thresholds[:, None]) & (inside > LEAST_INSIDE)
        best = overlap.new_full((len(boxes), len(anchors)), -1.0)
        best.scatter_(1, place, torch.where(positive, overlap, -1.0))
        overlap, owners = best.max(0)
        return torch.where(overlap >= 0, owners, -1), thresholds


def _mean_plus_deviation(values: Tensor, there: Tensor) -> Tensor:
    """Mean plus unbiased standard deviation of each row of (G, C), over the places in `there`."""
    count = there.sum(1)
    mean = (values * there).sum(1) / count.clamp(min=1)
    squares = ((values - mean[:, None]).square() * there).sum(1)
    return mean + (squares / (count - 1).clamp(min=1)).sqrt()
