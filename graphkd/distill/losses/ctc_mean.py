"""The `ctc_mean` method: which characters a line holds, by the means of its frames over time."""

from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.frames import NEVER, kept_at_student, kept_frames, need_frames
from graphkd.distill.losses.functional import mean_of_present
from graphkd.distill.losses.options import number, one_of
from graphkd.distill.outputs import Outputs, Targets


def log_mean(logits: Tensor, kept: Tensor, *, temperature: float, drop_blank: bool) -> Tensor:
    """The logarithm of the mean over time of the softened probabilities.

    Args:
        logits: (N, T, C).
        kept: (N, T) bool, frames that count.
        temperature: T of the softmax.
        drop_blank: leave out class 0 and make the rest a distribution again.

    Returns:
        (N, C), or (N, C - 1) without the blank, float32. Lines without a frame have no meaning.
    """
    logs = F.log_softmax(logits.float() / temperature, -1).masked_fill(~kept[..., None], NEVER)
    total = logs.logsumexp(1)
    # The number of frames is a constant factor, which the softmax removes.
    return F.log_softmax(total[:, 1:] if drop_blank else total, -1)


def mean_divergence(
    student_logits: Tensor,
    teacher_logits: Tensor,
    student_kept: Tensor,
    teacher_kept: Tensor,
    *,
    temperature: float,
    drop_blank: bool = False,
) -> Tensor:
    """KL(teacher || student) of the time means, (N,) float32; see `log_mean`.

    The two may have different numbers of frames.
    """
    options = {"temperature": temperature, "drop_blank": drop_blank}
    own = log_mean(student_logits, student_kept, **options)
    other = log_mean(teacher_logits.detach(), teacher_kept, **options)
    return F.kl_div(own, other, reduction="none", log_target=True).sum(-1)


@register("ctc_mean")
class CTCMean(DistillLoss):
    """KL of the time means of the frames' probabilities, summed over classes, a mean over lines.

    The spikes of two CTC readers lie some frames apart, which a comparison frame by frame punishes
    and this one does not.

    Source: the mean mode of PaddleOCR's CTC distillation, with its temperature of 0.5, which makes
    the probabilities sharper. Differs from it: padded frames are left out.
    """

    needs = frozenset({"frames"})
    needs_same_classes = True

    def __init__(self, context: LossContext, *, temperature: float = 0.5, blank: str = "keep"):
        """Takes the options.

        Args:
            context: facts about the pair.
            temperature: T of the softmax of every frame.
            blank: keep it among the classes, or drop it.
        """
        super().__init__()
        need_frames(context)
        self.temperature = number("temperature", temperature, positive=True)
        self.drop_blank = one_of("blank", blank, ("keep", "drop")) == "drop"

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `frames`."""
        own, other = student.frames, teacher.frames
        kept = kept_at_student(own, other), kept_frames(other)
        values = mean_divergence(
            own.logits,
            other.logits,
            *kept,
            temperature=self.temperature,
            drop_blank=self.drop_blank,
        )
        return {"frames": mean_of_present(values, kept[0].any(1) & kept[1].any(1))}
