"""Box edges as distances from a point: expected values of distributions, boxes and back, IoU.

Distances are left, top, right, bottom, in strides of the cell's level.
"""

import torch
from torch import Tensor

# Side of the one square anchor of a cell, in strides: GFL's scale for ATSS.
ANCHOR_SIDE = 8.0


def by_edge(logits: Tensor) -> Tensor:
    """Edge logits (..., 4 * (n + 1)) as (..., 4, n + 1); the bins of an edge lie together."""
    return logits.unflatten(-1, (4, logits.shape[-1] // 4))


def expected_distances(logits: Tensor) -> Tensor:
    """Mean of the distribution of every edge.

    Args:
        logits: (..., 4, n + 1) of the bins 0..n.

    Returns:
        (..., 4) float32 in 0..n.
    """
    probabilities = torch.softmax(logits.float(), -1)
    bins = torch.arange(logits.shape[-1], device=logits.device, dtype=torch.float32)
    # A sum and no matrix product, which int8 export would quantise.
    return (probabilities * bins).sum(-1)


class EdgeTransform:
    """Distances to boxes and back, with the interface of Detectron2's box transforms.

    Anchors are squares of `ANCHOR_SIDE` strides around the point that distances start from.
    """

    def apply_deltas(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        """Boxes (R, 4) x1 y1 x2 y2 from distances (R, 4) and anchors (R, 4)."""
        pixels = deltas * _strides(anchors)
        centres = (anchors[..., :2] + anchors[..., 2:]) / 2
        return torch.cat([centres - pixels[..., :2], centres + pixels[..., 2:]], -1)

    def get_deltas(self, anchors: Tensor, boxes: Tensor) -> Tensor:
        """Distances (R, 4) of boxes (R, 4) from the centres of anchors (R, 4)."""
        centres = (anchors[..., :2] + anchors[..., 2:]) / 2
        pixels = torch.cat([centres - boxes[..., :2], boxes[..., 2:] - centres], -1)
        return pixels / _strides(anchors)


def paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU of boxes (..., 4) with those of the same place in `others`; 0 for two empty boxes."""
    corner = torch.maximum(boxes[..., :2], others[..., :2])
    extent = (torch.minimum(boxes[..., 2:], others[..., 2:]) - corner).clamp(min=0)
    common = extent.prod(-1)
    areas = [(each[..., 2:] - each[..., :2]).clamp(min=0).prod(-1) for each in (boxes, others)]
    return common / (areas[0] + areas[1] - common).clamp(min=1e-9)


def _strides(anchors: Tensor) -> Tensor:
    return (anchors[..., 2:3] - anchors[..., :1]) / ANCHOR_SIDE
