"""The `pkd` method: correlation of FPN maps, channel by channel; scale and offset do not count."""

from torch import Tensor, stack

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.maps import level_adapters, level_pairs
from graphkd.distill.losses.options import whole_number
from graphkd.distill.losses.register import register
from graphkd.distill.outputs import Outputs, Targets


def pearson_distance(student_map: Tensor, teacher_map: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Half the mean squared error of two maps (N, C, H, W) whose channels are standardised.

    A channel's standard deviation is the root of its variance plus `eps`. Equals 1 - r, averaged
    over channels, with Pearson's r between the two values of a cell; 0..2. Written out in variances
    and covariances, so that no copy of the student's map is kept for the backward pass.
    """
    cells = (0, 2, 3)
    teacher = teacher_map - teacher_map.mean(cells, keepdim=True)
    student_variance = student_map.var(cells, correction=0)
    teacher_variance = teacher.square().mean(cells)
    # One centred factor is enough: the other's mean meets a sum of zero.
    covariance = (student_map * teacher).mean(cells)
    student_scale, teacher_scale = student_variance + eps, teacher_variance + eps
    own = student_variance / student_scale + teacher_variance / teacher_scale
    return (0.5 * own - covariance / (student_scale * teacher_scale).sqrt()).mean()


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
