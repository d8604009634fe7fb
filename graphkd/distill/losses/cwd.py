"""The `cwd` method: each channel of an FPN map, or the text map, as a distribution over places."""

from torch import Tensor

from graphkd.distill.losses.base import LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import softened_kl
from graphkd.distill.losses.levels import LevelPair, MapOrLevelLoss
from graphkd.distill.losses.options import number


@register("cwd")
class CWD(MapOrLevelLoss):
    """Channel-wise divergence: T^2 KL(teacher || student) of the softmax over the cells of every
    channel, a mean over images and channels of a level, summed over levels.

    Source: Shu et al., Channel-wise Knowledge Distillation for Dense Prediction, equations 3 and 4,
    on the FPN levels. The divergence of two distributions does not grow with the area of a level.
    """

    def __init__(self, context: LossContext, *, temperature: float = 1.0, maps: str = "levels"):
        """Makes the adapters.

        Args:
            context: facts about the pair.
            temperature: T of the softmax over cells; larger values look at more of the map.
            maps: levels, fused or neck, or text for the text map of a text detector.
        """
        super().__init__(context, levels=None, maps=maps)
        self.temperature = number("temperature", temperature, positive=True)

    def distance(self, pair: LevelPair) -> Tensor:
        """The mean divergence of a level's channels."""
        maps = pair.student.flatten(2), pair.teacher.flatten(2)
        return softened_kl(*maps, temperature=self.temperature).mean()

    def text_distance(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """The mean divergence of the text maps; the softmax is over the cells of the mask."""
        # A finite number: with infinity an image without any cell would give NaN.
        hidden = [each.masked_fill(mask == 0, -1e4).flatten(2) for each in (student, teacher)]
        return softened_kl(*hidden, temperature=self.temperature).mean()
