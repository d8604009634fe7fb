"""The `cwd` method: each channel of an FPN map as a distribution over places."""

from torch import Tensor, stack

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import softened_kl
from graphkd.distill.losses.levels import level_adapters, level_pairs
from graphkd.distill.losses.options import number
from graphkd.distill.outputs import Outputs, Targets


def channel_divergence(student_map: Tensor, teacher_map: Tensor, *, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of the softmax over cells, a mean over images and channels.

    Args:
        student_map: (N, C, H, W).
        teacher_map: (N, C, H, W).
        temperature: T, above 0.
    """
    return softened_kl(
        student_map.flatten(2), teacher_map.flatten(2), temperature=temperature
    ).mean()


@register("cwd")
class CWD(DistillLoss):
    """Channel-wise divergence of a level, summed over levels.

    Source: Shu et al., Channel-wise Knowledge Distillation for Dense Prediction, equations 3 and 4,
    on the FPN levels. The divergence of two distributions does not grow with the area of a level.
    """

    needs = frozenset({"features"})

    def __init__(self, context: LossContext, *, temperature: float = 1.0, kernel: int = 1):
        """Makes the adapters.

        Args:
            context: facts about the pair.
            temperature: T of the softmax over cells; larger values look at more of the map.
            kernel: 1 or 3, width of the convolution from student to teacher channels.
        """
        super().__init__()
        self.temperature = number("temperature", temperature, positive=True)
        self.adapters = level_adapters(context, kernel=kernel)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `features`."""
        pairs = level_pairs(student, teacher, targets, adapters=self.adapters)
        divergences = [
            channel_divergence(pair.student, pair.teacher, temperature=self.temperature)
            for pair in pairs
        ]
        return {"features": stack(divergences).sum()}
