"""Made-up batches of pages of a given size, drawn from a seed; no files and no data sets."""

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from graphkd.errors import UserError

SMALLEST_SIDE = 32
OBJECTS_A_PAGE = 12


def made_up_batch(
    pages: int, *, size: tuple[int, int], num_classes: int, seed: int = 0
) -> list[dict]:
    """A mapped training batch: light pages with blocks of noise where their boxes are.

    Args:
        pages: how many, 1 or more.
        size: (height, width) in pixels.
        num_classes: K; the classes of the boxes are drawn from 0..K-1.
        seed: the same arguments give the same batch.

    Returns:
        Detectron2's dicts with uint8 `image` (3, H, W) and `instances` of 12 boxes.

    Raises:
        UserError: no page, or a side too short for an FPN.
    """
    if pages < 1:
        raise UserError(f"a batch of {pages} pages measures nothing; ask for 1 or more")
    if min(size) < SMALLEST_SIDE:
        raise UserError(
            f"pages of {size[0]} x {size[1]} are too small; use {SMALLEST_SIDE} or more"
        )
    draw = torch.Generator().manual_seed(seed)
    return [_page(number, size, num_classes, draw) for number in range(pages)]


def _page(number: int, size: tuple[int, int], num_classes: int, draw: torch.Generator) -> dict:
    boxes = _boxes(size, draw)
    image = torch.full((3, *size), 245, dtype=torch.uint8)
    for x1, y1, x2, y2 in boxes.round().int().tolist():
        block = image[:, y1:y2, x1:x2]
        noise = torch.randint(0, 256, block.shape[1:], generator=draw, dtype=torch.uint8)
        block.copy_(noise.expand_as(block))
    instances = Instances(size)
    instances.gt_boxes = Boxes(boxes)
    instances.gt_classes = torch.randint(0, num_classes, (len(boxes),), generator=draw)
    return {
        "image": image,
        "instances": instances,
        "height": size[0],
        "width": size[1],
        "image_id": number,
        "file_name": f"made-up page {number}",
    }


def _boxes(size: tuple[int, int], draw: torch.Generator) -> Tensor:
    """(12, 4) boxes inside the page, between 0.05 and 0.4 of its sides long."""
    sides = torch.tensor([size[1], size[0]], dtype=torch.float32)
    extent = (0.05 + 0.35 * torch.rand(OBJECTS_A_PAGE, 2, generator=draw)) * sides
    corner = torch.rand(OBJECTS_A_PAGE, 2, generator=draw) * (sides - extent)
    return torch.cat([corner, corner + extent], 1)
