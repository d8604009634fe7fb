"""Box operations of exported networks, equal in PyTorch and ONNX: decoding, suppression of many
groups at once, and the best boxes of each page.
"""

import torch
import torchvision  # noqa: F401  (registers the operators that the traced functions use)
from torch import Tensor

NOTHING = -1e30  # score of a missing box
# No page is so large. A comparison with NaN is False, so NaN is not finite, either.
_FINITE = 1e9


def top(values: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The `limit` largest values of each row of (N, S), or all S if there are fewer.

    Returns:
        Falling values and their int64 indices, both (N, min(limit, S)).
    """
    length = values.shape[1]
    # In tracing, a size is a tensor. As a number it would become a constant of the graph.
    count = length.clamp(max=limit) if isinstance(length, Tensor) else min(length, limit)
    return values.topk(count, dim=1)


def pick(rows: Tensor, indices: Tensor) -> Tensor:
    """The rows of (N, S, D) at the indices (N, k), as (N, k, D)."""
    return rows.gather(1, indices[..., None].expand(-1, -1, rows.shape[2]))


def decode(transform, deltas: Tensor, anchors: Tensor) -> Tensor:
    """Applies a Detectron2 box transform to deltas and anchors, both (..., 4)."""
    return transform.apply_deltas(deltas.reshape(-1, 4), anchors.reshape(-1, 4)).view(deltas.shape)


def clip(boxes: Tensor, size: Tensor) -> Tensor:
    """Clips boxes (..., 4) to a page of `size` (height, width)."""
    height, width = size[0].float(), size[1].float()
    return torch.minimum(boxes.clamp(min=0.0), torch.stack([width, height, width, height]))


def finite(values: Tensor) -> Tensor:
    """Whether all numbers of the last dimension are finite: (...,) for (..., D)."""
    return (values.abs() < _FINITE).all(-1)


def nonempty(boxes: Tensor, least: float = 0.0) -> Tensor:
    """Whether boxes (..., 4) are wider and higher than `least` pixels: (...,)."""
    wide = boxes[..., 2] - boxes[..., 0] > least
    high = boxes[..., 3] - boxes[..., 1] > least
    return wide & high


def best_of_classes(
    boxes: Tensor, scores: Tensor, *, overlap: float, floor: float, limit: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Suppresses boxes class by class, then selects the best of each image over all classes.

    Args:
        boxes: (N, K, S, 4), the boxes of each class.
        scores: (N, K, S).
        overlap: of two boxes of a class with a larger IoU, the one with the lower score is removed.
        floor: only boxes with higher scores are kept.
        limit: largest number of detections per image.

    Returns:
        boxes (N, D, 4), falling scores (N, D) and classes (N, D) int64 with D at most `limit`. Rows
        without a detection have the score NOTHING.
    """
    candidates = torch._shape_as_tensor(scores)[2]
    flat = boxes.flatten(1, 2)
    kept = suppress(boxes.flatten(0, 1), scores.flatten(0, 1), overlap=overlap, floor=floor)
    best, index = top(kept.view(scores.shape).flatten(1), limit)
    return pick(flat, index), best, torch.div(index, candidates, rounding_mode="floor")


def to_page(
    boxes: Tensor, scores: Tensor, classes: Tensor, *, page: Tensor, size: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Joins the detections of all images to one list, with boxes in pixels of the page.

    Args:
        boxes: (N, D, 4) in pixels of the resized page.
        scores: (N, D), falling; NOTHING for missing boxes.
        classes: (N, D) int64.
        page: (2,) height and width of the page.
        size: (2,) height and width after resizing.

    Returns:
        boxes (M, 4), scores (M,), classes (M,), image_index (M,), sorted by image, then by falling
        score.
    """
    scale = (page.double() / size.double()).float()
    scaled = clip(boxes * torch.stack([scale[1], scale[0], scale[1], scale[0]]), page)
    there = (scores > NOTHING / 2) & nonempty(scaled)
    image, place = torch.nonzero(there).unbind(1)
    return scaled[image, place], scores[image, place], classes[image, place], image


def suppress(boxes: Tensor, scores: Tensor, *, overlap: float, floor: float) -> Tensor:
    """Greedy suppression (NMS) within each of G independent groups.

    Args:
        boxes: (G, S, 4) x1 y1 x2 y2.
        scores: (G, S).
        overlap: a box is removed if its IoU with a better one is larger.
        floor: only boxes with higher scores are kept.

    Returns:
        (G, S), the score of every box that is kept, NOTHING for the others.
    """
    if torch.onnx.is_in_onnx_export():
        chosen = _NonMaxSuppression.apply(boxes, scores, overlap, floor)
    else:
        chosen = _choose(boxes, scores, overlap, floor)
    group, place = chosen[:, 0], chosen[:, 2]
    return torch.full_like(scores, NOTHING).index_put((group, place), scores[group, place])


@torch.jit.script
def _choose(boxes: Tensor, scores: Tensor, overlap: float, floor: float) -> Tensor:
    """Rows (group, 0, index) of the boxes that are kept, in the format of ONNX."""
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
    """`_choose` as a single ONNX operator for the whole batch."""

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
