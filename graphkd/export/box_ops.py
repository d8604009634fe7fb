"""Box operations of an exported graph, the same in PyTorch and in ONNX: decoding, suppression of
many groups at once, the best of each page.
"""

import torch
import torchvision  # noqa: F401  (its operators must be known where the traced file is loaded)
from torch import Tensor

NOTHING = -1e30  # score of a box that is not there
# No page has such a side; a comparison with NaN is false too.
_FINITE = 1e9


def top(values: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The `limit` largest values of each row of (N, S), or all S where there are fewer.

    Returns:
        values and int64 indices, both (N, min(limit, S)), falling.
    """
    length = values.shape[1]
    # While tracing a size is a tensor, and must stay one to be no constant of the graph.
    count = length.clamp(max=limit) if isinstance(length, Tensor) else min(length, limit)
    return values.topk(count, dim=1)


def pick(rows: Tensor, indices: Tensor) -> Tensor:
    """Rows of (N, S, D) at indices (N, k): (N, k, D)."""
    return rows.gather(1, indices[..., None].expand(-1, -1, rows.shape[2]))


def decode(transform, deltas: Tensor, anchors: Tensor) -> Tensor:
    """Boxes (..., 4) from a Detectron2 box transform, of deltas and anchors of that shape."""
    return transform.apply_deltas(deltas.reshape(-1, 4), anchors.reshape(-1, 4)).view(deltas.shape)


def clip(boxes: Tensor, size: Tensor) -> Tensor:
    """Boxes (..., 4) cut off at a page of `size` (height, width)."""
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
    """Class-wise suppression, then the best of each image over all classes.

    Args:
        boxes: (N, K, S, 4), the boxes of each class.
        scores: (N, K, S).
        overlap: IoU above which the worse box of a class goes.
        floor: a detection's score is above this.
        limit: most detections of an image.

    Returns:
        boxes (N, D, 4), scores (N, D) falling, classes (N, D) int64 with D at most `limit`; rows
        without a detection have a score of NOTHING.
    """
    candidates = torch._shape_as_tensor(scores)[2]
    flat = boxes.flatten(1, 2)
    kept = suppress(boxes.flatten(0, 1), scores.flatten(0, 1), overlap=overlap, floor=floor)
    best, index = top(kept.view(scores.shape).flatten(1), limit)
    return pick(flat, index), best, torch.div(index, candidates, rounding_mode="floor")


def to_page(
    boxes: Tensor, scores: Tensor, classes: Tensor, *, page: Tensor, size: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Detections of all images as one list, boxes in the pixels of the page.

    Args:
        boxes: (N, D, 4) in the resized page.
        scores: (N, D), falling; NOTHING where there is none.
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
