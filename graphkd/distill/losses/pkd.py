"""The `pkd` method: Pearson correlation of FPN maps, channel by channel."""

from torch import Tensor

from graphkd.distill.losses.base import LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import pearson_distance
from graphkd.distill.losses.levels import LevelLoss, LevelPair


@register("pkd")
class PKD(LevelLoss):
    """Pearson distance of a level, summed over the finest levels.

    Source: Cao et al., PKD: General Distillation Framework for Object Detectors via Pearson
    Correlation Coefficient, section 3.2. As there, a channel is standardised over all images of the
    batch, so a term depends on which pages share a batch (not on how many).
    """

    def __init__(self, context: LossContext, *, levels: int | None = 4):
        """Makes the adapters of the `levels` finest levels, None for all."""
        super().__init__(context, levels=levels)

    def distance(self, pair: LevelPair) -> Tensor:
        """The mean distance of a level's channels."""
        return pearson_distance(pair.student, pair.teacher)
