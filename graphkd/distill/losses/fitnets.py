"""The `fitnets` method: squared error of every FPN map."""

from torch import Tensor, stack
from torch.nn import functional as F

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.levels import level_adapters, level_pairs
from graphkd.distill.outputs import Outputs, Targets


@register("fitnets")
class FitNets(DistillLoss):
    """Mean squared error of a level, summed over levels.

    Source: Romero et al., FitNets, section 2.2, here on every FPN level.
    Differs from the paper: a mean over cells and channels in place of a sum, so that neither batch
    size nor the area of a level changes the term; all levels at once in place of one hint layer.
    """

    needs = frozenset({"features"})

    def __init__(self, context: LossContext, *, kernel: int = 1):
        """Makes the adapters.

        Args:
            context: facts about the pair.
            kernel: 1 or 3, width of the convolution from student to teacher channels.
        """
        super().__init__()
        self.adapters = level_adapters(context, kernel=kernel)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `features`."""
        pairs = level_pairs(student, teacher, targets, adapters=self.adapters)
        return {"features": stack([F.mse_loss(pair.student, pair.teacher) for pair in pairs]).sum()}
