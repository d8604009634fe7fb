"""The `pkd` method: Pearson correlation of FPN maps, channel by channel."""

from torch import Tensor, stack

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import pearson_distance
from graphkd.distill.losses.levels import level_adapters, level_pairs
from graphkd.distill.losses.options import whole_number
from graphkd.distill.outputs import Outputs, Targets


@register("pkd")
class PKD(DistillLoss):
    """Pearson distance of a level, summed over the finest levels.

    Source: Cao et al., PKD: General Distillation Framework for Object Detectors via Pearson
    Correlation Coefficient, section 3.2. As there, a channel is standardised over all images of the
    batch, so a term depends on which pages share a batch (not on how many).
    """

    needs = frozenset({"features"})

    def __init__(self, context: LossContext, *, levels: int = 4, kernel: int = 1):
        """Makes the adapters.

        Args:
            context: facts about the pair.
            levels: how many levels are compared, counted from the finest.
            kernel: 1 or 3, width of the convolution from student to teacher channels.
        """
        super().__init__()
        levels = whole_number("levels", levels, least=1)
        self.adapters = level_adapters(context, kernel=kernel, levels=levels)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `features`."""
        pairs = level_pairs(student, teacher, targets, adapters=self.adapters)
        distances = [pearson_distance(pair.student, pair.teacher) for pair in pairs]
        return {"features": stack(distances).sum()}
