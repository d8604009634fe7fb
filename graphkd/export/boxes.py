"""Box steps that both detector families share in an exported graph; no network parts."""

import torch
from torch import Tensor

from graphkd.export.shapes import pick, top
from graphkd.export.suppression import NOTHING, suppress

# No page has such a side; a comparison with NaN is false too.
_FINITE = 1e9


def decode(transform, deltas: Tensor, anchors: Tensor) -> Tensor:
    """Boxes (..., 4) from a Detectron2 box transform, of deltas and anchors of that shape."""
    return transform.apply_deltas(deltas.reshape(-1, 4), anchors.reshape(-1, 4)).view(deltas.shape)


def clip(boxes: Tensor, size: Tensor) -> Tensor:
    """Boxes (..., 4) cut off at a page of `size` (height, width)."""
    height, width = size[0].float(), size[1].float()
    x1, y1, x2, y2 = (boxes[..., index] for index in range(4))
    zero = torch.zeros_like(width)
    return torch.stack(
        [
            torch.minimum(torch.maximum(x1, zero), width),
            torch.minimum(torch.maximum(y1, zero), height),
            torch.minimum(torch.maximum(x2, zero), width),
            torch.minimum(torch.maximum(y2, zero), height),
        ],
        dim=-1,
    )


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
