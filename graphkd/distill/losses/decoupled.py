"""The `decoupled` method: objects and background apart, in FPN maps and in class scores."""

import torch
from torch import Tensor, stack

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import (
    cell_mask,
    mean_of_present,
    mean_over_images,
    softened_kl,
)
from graphkd.distill.losses.levels import LevelPair, level_adapters, level_pairs
from graphkd.distill.losses.options import need_same_classes, need_two_stage, number, one_of
from graphkd.distill.outputs import Outputs, Targets


def own_levels(boxes: Tensor, *, num_levels: int, finest_stride: int) -> Tensor:
    """The FPN level of every box, by the rule of the released code.

    It is floor(log2(sqrt(area) / (14 * finest stride))), clipped, with one pixel added to both
    sides of the box: with a finest stride of 4, boxes from 223 to 446 pixels belong to p4.

    Args:
        boxes: (G, 4) in input pixels.
        num_levels: count of levels.
        finest_stride: input pixels a cell of the first level.

    Returns:
        (G,) int64 in 0..num_levels - 1.
    """
    sides = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1).sqrt()
    levels = (sides / (14 * finest_stride) + 1e-6).log2().floor()
    return levels.clamp(0, num_levels - 1).long()


def object_cells(boxes: Tensor, *, stride: int, size: tuple[int, int]) -> Tensor:
    """The cells of every box, (G, H, W) bool, by the rule of the released code.

    Both corners are rounded down and the last column and row do not count; a box that has no cell
    then gets the one of its first corner.
    """
    height, width = size
    edge = boxes.new_tensor([width, height])
    first = torch.minimum((boxes[:, :2] / stride).floor(), edge - 1)
    last = torch.minimum((boxes[:, 2:] / stride).floor(), edge)
    last = torch.where((first >= last).any(1, keepdim=True), first + 1, last)
    return cell_mask(torch.cat([first, last], 1), size=size)


def object_masks(boxes: tuple[Tensor, ...], pairs: list[LevelPair]) -> list[Tensor]:
    """Per level (N, h, w) bool: cells of the boxes whose own FPN level it is.

    Args:
        boxes: per image (G_i, 4) in input pixels.
        pairs: the levels, fine to coarse.
    """
    finest = pairs[0].stride
    levels = [own_levels(each, num_levels=len(pairs), finest_stride=finest) for each in boxes]
    masks = []
    for index, pair in enumerate(pairs):
        own = [each[level == index] for each, level in zip(boxes, levels, strict=True)]
        cells = [object_cells(each, stride=pair.stride, size=pair.size).any(0) for each in own]
        masks.append(stack(cells))
    return masks


def masked_error(pair: LevelPair, mask: Tensor) -> Tensor:
    """Half the squared error, a mean over channels and the cells of `mask` (N, h, w) of an image.

    Images without such cells leave the mean over images; 0 if no image has any.
    """
    error = (pair.student - pair.teacher).square().mean(1)
    sums = torch.where(mask, error, torch.zeros_like(error)).sum((1, 2))
    count = mask.sum((1, 2))
    return mean_of_present(sums / (2 * count.clamp(min=1)), count > 0)


@register("decoupled")
class Decoupled(DistillLoss):
    """Objects and background with factors and divisors of their own (DeFeat).

    Source: Guo et al., Distilling Object Detectors via Decoupled Features, section 3, and its
    released code: masks, the start of the adapters, and means over channels and over levels, a
    level without objects counting as 0. Differs from it: the cells of each image are its own
    divisor, so every image weighs the same; class terms are compared on the student's regions.
    """

    needs = frozenset({"features", "region_predictions"})
    reads = frozenset({"boxes"})

    def __init__(
        self,
        context: LossContext,
        *,
        object_weight: float = 3.0,
        background_weight: float = 12.0,
        object_class_weight: float = 2.0,
        background_class_weight: float = 2.0,
        temperature: float = 1.0,
        start: str = "small",
    ):
        """Makes the adapters.

        Args:
            context: facts about the pair.
            object_weight: of the squared error on cells of objects.
            background_weight: of the squared error on the other cells.
            object_class_weight: of the class term of foreground regions; 0 for none.
            background_class_weight: of the class term of background regions; 0 for none.
            temperature: T of the class scores.
            start: of the 3x3 convolutions from student to teacher channels, which are there at
                equal widths too: small (almost 0, the release) or identity (ours).
        """
        super().__init__()
        given = {
            "object": object_weight,
            "background": background_weight,
            "object_class": object_class_weight,
            "background_class": background_class_weight,
        }
        self.weights = {key: number(f"{key}_weight", value) for key, value in given.items()}
        self.compares_classes = self.weights["object_class"] + self.weights["background_class"] > 0
        if self.compares_classes:
            remedy = "set OBJECT_CLASS_WEIGHT and BACKGROUND_CLASS_WEIGHT to 0"
            need_two_stage(context, remedy=remedy)
            need_same_classes(context, remedy=remedy)
        else:
            self.needs = frozenset({"features"})
        self.temperature = number("temperature", temperature, positive=True)
        start = one_of("start", start, ("small", "identity"))
        self.adapters = level_adapters(context, kernel=3, start=start)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `object`, `background`, and `object_class`, `background_class` where asked."""
        pairs = level_pairs(student, teacher, targets, adapters=self.adapters)
        masks = object_masks(targets.boxes, pairs)
        both = list(zip(pairs, masks, strict=True))
        terms = {
            "object": stack([masked_error(pair, mask) for pair, mask in both]).mean(),
            "background": stack([masked_error(pair, ~mask) for pair, mask in both]).mean(),
        }
        if self.compares_classes:
            logits = student.regions.logits, teacher.regions.logits
            divergence = softened_kl(*logits, temperature=self.temperature)
            foreground = targets.region_labels < targets.num_classes
            for name, where in (("object_class", foreground), ("background_class", ~foreground)):
                terms[name] = mean_over_images(divergence, student.regions.counts, where=where)
        return {name: self.weights[name] * value for name, value in terms.items()}
