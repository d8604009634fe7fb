"""The `decoupled` method: objects and background apart, in FPN maps and in class scores."""

import torch
from torch import Tensor, stack

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.maps import LevelPair, level_adapters, level_pairs
from graphkd.distill.losses.masks import assign_levels, box_cells
from graphkd.distill.losses.options import need_same_classes, need_two_stage, not_negative, positive
from graphkd.distill.losses.reduce import (
    image_index,
    mean_of_present,
    mean_over_images,
    softened_kl,
)
from graphkd.distill.losses.register import register
from graphkd.distill.outputs import Outputs, Regions, Targets


def object_masks(boxes: tuple[Tensor, ...], pairs: list[LevelPair]) -> list[Tensor]:
    """Per level (N, h, w) bool: cells of the boxes whose own FPN level it is.

    Args:
        boxes: per image (G_i, 4) in input pixels.
        pairs: the levels, fine to coarse.
    """
    finest = pairs[0].stride
    levels = [assign_levels(each, num_levels=len(pairs), finest_stride=finest) for each in boxes]
    return [
        stack(
            [
                box_cells(each[level == index], stride=pair.stride, size=pair.size).any(0)
                for each, level in zip(boxes, levels, strict=True)
            ]
        )
        for index, pair in enumerate(pairs)
    ]


def masked_error(pair: LevelPair, mask: Tensor) -> Tensor:
    """Half the squared error, a mean over channels and the cells of `mask` (N, h, w) of an image.

    Images without such cells leave the mean over images; 0 if no image has any.
    """
    error = (pair.student - pair.teacher).square().mean(1)
    sums = torch.where(mask, error, torch.zeros_like(error)).sum((1, 2))
    count = mask.sum((1, 2))
    return mean_of_present(sums / (2 * count.clamp(min=1)), count > 0)


def class_terms(
    student: Regions, teacher: Regions, targets: Targets, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """T^2 KL of the class scores, a mean over foreground and one over background regions."""
    images = image_index(student.counts, device=student.logits.device)
    divergence = softened_kl(student.logits, teacher.logits, temperature=temperature)
    foreground = targets.region_labels < targets.num_classes
    return (
        mean_over_images(divergence, images, where=foreground),
        mean_over_images(divergence, images, where=~foreground),
    )


@register("decoupled")
class Decoupled(DistillLoss):
    """Objects and background with factors and divisors of their own (DeFeat).

    Source: Guo et al., Distilling Object Detectors via Decoupled Features, section 3.
    As in the release, terms of maps are means over channels and over levels, a level without
    objects counting as 0. Differs from it: the cells of each image are its own divisor, so every
    image weighs the same; class terms are compared on the student's regions.
    """

    needs = frozenset({"features", "region_predictions"})

    def __init__(
        self,
        context: LossContext,
        *,
        object_weight: float = 3.0,
        background_weight: float = 12.0,
        object_class_weight: float = 2.0,
        background_class_weight: float = 2.0,
        temperature: float = 1.0,
        kernel: int = 3,
    ):
        """Makes the adapters.

        Args:
            context: facts about the pair.
            object_weight: factor of the squared error on cells of objects.
            background_weight: factor of the squared error on the other cells.
            object_class_weight: factor of the class term of foreground regions; 0 for none.
            background_class_weight: factor of the class term of background regions; 0 for none.
            temperature: T of the class scores.
            kernel: 1 or 3, width of the convolution from student to teacher channels, which is
                there at equal widths too, as in the release.
        """
        super().__init__()
        self.weights = {
            "object": not_negative("object_weight", object_weight),
            "background": not_negative("background_weight", background_weight),
            "object_class": not_negative("object_class_weight", object_class_weight),
            "background_class": not_negative("background_class_weight", background_class_weight),
        }
        self.compares_classes = self.weights["object_class"] + self.weights["background_class"] > 0
        if self.compares_classes:
            remedy = "set OBJECT_CLASS_WEIGHT and BACKGROUND_CLASS_WEIGHT to 0"
            need_two_stage(context, remedy=remedy)
            need_same_classes(context, remedy=remedy)
        else:
            self.needs = frozenset({"features"})
        self.temperature = positive("temperature", temperature)
        self.adapters = level_adapters(context, kernel=kernel, always=True)

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
            terms["object_class"], terms["background_class"] = class_terms(
                student.regions, teacher.regions, targets, temperature=self.temperature
            )
        return {name: self.weights[name] * value for name, value in terms.items()}
