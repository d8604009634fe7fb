"""The `fitnets` method: squared error of every FPN map, or of the fused map of a text detector."""

from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.losses.build import register
from graphkd.distill.losses.levels import LevelLoss, LevelPair


@register("fitnets")
class FitNets(LevelLoss):
    """Mean squared error of a level, summed over levels.

    Source: Romero et al., FitNets, section 2.2, here on every FPN level.
    Differs from the paper: a mean over cells and channels in place of a sum, so that neither batch
    size nor the area of a level changes the term; all levels at once in place of one hint layer.
    """

    def distance(self, pair: LevelPair) -> Tensor:
        """The mean squared error of a level."""
        return F.mse_loss(pair.student, pair.teacher)
