"""Where the ground truth lies on feature maps: cells of boxes and levels of boxes; no losses."""

import torch
from detectron2.modeling.poolers import assign_boxes_to_levels
from detectron2.structures import Boxes
from torch import Tensor


def box_cells(boxes: Tensor, *, stride: int, size: tuple[int, int]) -> Tensor:
    """The cells of a map that every box touches.

    Args:
        boxes: (G, 4) x1 y1 x2 y2 in input pixels.
        stride: input pixels a cell.
        size: (H, W) of the map.

    Returns:
        (G, H, W) bool; at least one cell for every box, also for one without area.
    """
    top, bottom = _span(boxes[:, 1], boxes[:, 3], stride=stride, length=size[0])
    left, right = _span(boxes[:, 0], boxes[:, 2], stride=stride, length=size[1])
    rows = torch.arange(size[0], device=boxes.device)
    columns = torch.arange(size[1], device=boxes.device)
    in_rows = (rows >= top[:, None]) & (rows < bottom[:, None])
    in_columns = (columns >= left[:, None]) & (columns < right[:, None])
    return in_rows[:, :, None] & in_columns[:, None, :]


def foreground_weights(boxes: Tensor, *, stride: int, size: tuple[int, int]) -> Tensor:
    """One over the cells of the smallest box a cell lies in, so that every box weighs 1 in total.

    Args:
        boxes: (G, 4) as in `box_cells`.
        stride: as in `box_cells`.
        size: (H, W) of the map.

    Returns:
        (H, W) float32, 0 outside all boxes. Where boxes overlap the smaller one wins.
    """
    cells = box_cells(boxes, stride=stride, size=size).float()
    shares = cells / cells.sum((1, 2), keepdim=True).clamp(min=1)
    return shares.amax(0) if len(boxes) else cells.new_zeros(size)


def assign_levels(boxes: Tensor, *, num_levels: int, finest_stride: int) -> Tensor:
    """The FPN level a box belongs to: floor(log2(sqrt(area) / (14 * finest stride))), clipped.

    With a finest stride of 4 this is the rule of the FPN paper: a box of 224 x 224 lies on the
    third level, p4.

    Args:
        boxes: (G, 4) in input pixels.
        num_levels: count of levels.
        finest_stride: input pixels a cell of the first level.

    Returns:
        (G,) int64 in 0..num_levels - 1.

    Source: Lin et al., Feature Pyramid Networks for Object Detection, equation 1.
    """
    return assign_boxes_to_levels([Boxes(boxes)], 0, num_levels - 1, 14 * finest_stride, 0)


def _span(low: Tensor, high: Tensor, *, stride: int, length: int) -> tuple[Tensor, Tensor]:
    """First cell and the cell after the last, of intervals in pixels, inside 0..length."""
    start = (low / stride).floor().clamp(0, length - 1)
    stop = (high / stride).ceil().clamp(max=length)
    return start, torch.maximum(stop, start + 1)
