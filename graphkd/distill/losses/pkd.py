"""The `pkd` method: Pearson correlation of FPN maps, channel by channel, or of text maps."""

from torch import Tensor

from graphkd.distill.losses.base import LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import pearson_distance
from graphkd.distill.losses.levels import LevelPair, MapOrLevelLoss


@register("pkd")
class PKD(MapOrLevelLoss):
    """Pearson distance of a level, summed over the finest levels.

    Source: Cao et al., PKD: General Distillation Framework for Object Detectors via Pearson
    Correlation Coefficient, section 3.2. As there, a channel is standardised over all images of the
    batch, so a term depends on which pages share a batch (not on how many).
    """

    def __init__(self, context: LossContext, *, levels: int | None = 4, maps: str = "levels"):
        """Makes the adapters.

        Args:
            context: facts about the pair.
            levels: how many levels are compared, counted from the finest; None for all.
            maps: levels, fused or neck, or text for the text map of a text detector.
        """
        super().__init__(context, levels=levels, maps=maps)

    def distance(self, pair: LevelPair) -> Tensor:
        """The mean distance of a level's channels."""
        return pearson_distance(pair.student, pair.teacher)

    def text_distance(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """The distance of the text maps on the cells of the mask, one value for the batch."""
        kept = mask > 0
        if not kept.any():
            return (student * mask).sum()
        return pearson_distance(student[kept][None, None, None], teacher[kept][None, None, None])
