"""The `frame_kl` method: class probabilities frame by frame, for comparison with better methods."""

from torch import Tensor

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.frames import RESAMPLE, frame_pair, line_mean, need_frames
from graphkd.distill.losses.functional import softened_kl
from graphkd.distill.losses.options import number, one_of
from graphkd.distill.outputs import Outputs, Targets


@register("frame_kl")
class FrameKL(DistillLoss):
    """T^2 KL(teacher || student) of every frame, a mean over the frames of a line, then over lines.

    A negative control: the spikes of two CTC readers lie one or two frames apart, and almost all
    frames are blank, so it teaches the blank and little else.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network, section 2.
    """

    needs = frozenset({"frames"})
    needs_same_classes = True

    def __init__(
        self,
        context: LossContext,
        *,
        temperature: float = 1.0,
        blank_weight: float = 1.0,
        resample: str = "linear",
    ):
        """Takes the options.

        Args:
            context: facts about the pair.
            temperature: T of the softened probabilities.
            blank_weight: weight of frames in which the teacher's best class is the blank; the
                others weigh 1.
            resample: how a teacher of another stride is brought to the student's frames: linear or
                nearest.
        """
        super().__init__()
        need_frames(context)
        self.temperature = number("temperature", temperature, positive=True)
        self.blank_weight = number("blank_weight", blank_weight)
        self.resample = one_of("resample", resample, RESAMPLE)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `frames`."""
        own, other, kept = frame_pair(student, teacher, resample=self.resample)
        values = softened_kl(own, other, temperature=self.temperature)
        weights = kept.float().masked_fill(kept & (other.argmax(-1) == 0), self.blank_weight)
        return {"frames": line_mean(values, weights)}
