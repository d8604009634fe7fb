"""Non-maximum suppression of many groups at once, the same in PyTorch and in ONNX; no decoding."""

import torch
import torchvision  # noqa: F401  (its operators must be known where the traced file is loaded)
from torch import Tensor

NOTHING = -1e30
"""Score of a box that is not there."""


def suppress(boxes: Tensor, scores: Tensor, *, overlap: float, floor: float) -> Tensor:
    """Greedy suppression within each of G groups; groups do not see each other.

    Args:
        boxes: (G, S, 4) x1 y1 x2 y2.
        scores: (G, S).
        overlap: a box goes when its IoU with a better one is above this.
        floor: boxes take part when their score is above this.

    Returns:
        (G, S): the score of every box that stays, NOTHING for the others.
    """
    if torch.onnx.is_in_onnx_export():
        chosen = _NonMaxSuppression.apply(boxes, scores, overlap, floor)
    else:
        chosen = _choose(boxes, scores, overlap, floor)
    group, place = chosen[:, 0], chosen[:, 2]
    return torch.full_like(scores, NOTHING).index_put((group, place), scores[group, place])


@torch.jit.script
def _choose(boxes: Tensor, scores: Tensor, overlap: float, floor: float) -> Tensor:
    """Rows (group, 0, place) of the boxes that stay, as ONNX lists them."""
    rows = [torch.zeros((0, 3), dtype=torch.int64, device=boxes.device)]
    for group in range(boxes.shape[0]):
        candidates = torch.nonzero(scores[group] > floor)[:, 0]
        kept = torch.ops.torchvision.nms(
            boxes[group][candidates], scores[group][candidates], overlap
        )
        places = candidates[kept]
        row = torch.zeros((places.shape[0], 3), dtype=torch.int64, device=boxes.device)
        row[:, 0] = group
        row[:, 2] = places
        rows.append(row)
    return torch.cat(rows)


class _NonMaxSuppression(torch.autograd.Function):
    """`_choose` as the one ONNX operator that does it for a whole batch."""

    @staticmethod
    def forward(ctx, boxes, scores, overlap, floor):
        return _choose(boxes, scores, overlap, floor)

    @staticmethod
    def symbolic(g, boxes, scores, overlap, floor):
        def constant(value):
            return g.op("Constant", value_t=torch.tensor([value]))

        scores = g.op("Unsqueeze", scores, g.op("Constant", value_t=torch.tensor([1])))
        every = g.op("Constant", value_t=torch.tensor([2**31 - 1]))
        return g.op(
            "NonMaxSuppression", boxes, scores, every, constant(overlap), constant(floor)
        ).setType(boxes.type().with_dtype(torch.int64).with_sizes([None, 3]))
