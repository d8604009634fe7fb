"""The `dml` and `cml` methods: students that learn from each other, and text detectors that also
learn from hard labels of a frozen teacher.
"""

from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.frames import frame_pair, line_mean, need_frames
from graphkd.distill.losses.functional import bernoulli_kl
from graphkd.distill.losses.maps import dice, masked_mean, need_text_map, text_pair
from graphkd.distill.losses.options import number
from graphkd.distill.outputs import Outputs, Targets


def symmetric_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """T^2 / 2 (KL(teacher || student) + KL(student || teacher)) of the softmax over the last axis.

    Args:
        student_logits: (..., C).
        teacher_logits: (..., C), taken as a constant.
        temperature: T, above 0.

    Returns:
        (...) float32.
    """
    own = F.log_softmax(student_logits.float() / temperature, -1)
    other = F.log_softmax(teacher_logits.detach().float() / temperature, -1)
    return 0.5 * temperature**2 * ((own.exp() - other.exp()) * (own - other)).sum(-1)


@register("dml")
class MutualLearning(DistillLoss):
    """Half the KL in both directions, for every student against its peers: of the text maps of text
    detectors, or of the frames of CTC readers.

    Source: Zhang et al., Deep Mutual Learning, in the symmetric form of PaddleOCR.
    """

    needs_peers = True
    # The peers teach; a frozen teacher need not compute anything for this loss.
    needs_teacher = False

    def __init__(self, context: LossContext, *, temperature: float = 1.0):
        """Takes T of the softened probabilities."""
        super().__init__()
        if context.sequence is None:
            need_text_map(context)
            self.needs = self.reads = frozenset({"maps"})
        else:
            need_frames(context)
            self.needs = frozenset({"frames"})
        self.temperature = number("temperature", temperature, positive=True)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `text` for maps, `frames` for readers."""
        if "frames" in self.needs:
            own, other, kept = frame_pair(student, teacher)
            values = symmetric_kl(own, other, temperature=self.temperature)
            return {"frames": line_mean(values, kept)}
        own, other, mask = text_pair(student, teacher, targets)
        forward = bernoulli_kl(own, other, temperature=self.temperature)
        own, other = own / self.temperature, other / self.temperature
        # KL(student || other), with the gradient through both the probability and its logarithm.
        gap = F.logsigmoid(own) - F.logsigmoid(other), F.logsigmoid(-own) - F.logsigmoid(-other)
        backward = own.sigmoid() * gap[0] + (-own).sigmoid() * gap[1]
        return {"text": masked_mean(0.5 * (forward + self.temperature**2 * backward), mask)}


@register("cml")
class TeacherLabels(DistillLoss):
    """The teacher's text map as hard labels for every student: the detector's own text loss and the
    dice loss. Together with `dml` it is PaddleOCR's collaborative mutual learning.

    The labels are text where the teacher's probability is above 0.3, dilated by 2 x 2, as there.
    """

    needs = frozenset({"maps"})
    reads = frozenset({"maps"})
    teaches_peers = True

    def __init__(self, context: LossContext, *, threshold: float = 0.3):
        """Takes the probability above which a pixel of the teacher is text."""
        super().__init__()
        need_text_map(context)
        self.threshold = number("threshold", threshold, most=1)
        self.text_loss = context.text_loss

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `text`."""
        own, other, mask = text_pair(student, teacher, targets)
        found = (other.sigmoid() > self.threshold).float()
        # Dilated by 2 x 2: the largest of a pixel and its neighbours to the left and above.
        labels = F.max_pool2d(F.pad(found, (1, 0, 1, 0)), 2, stride=1)
        return {"text": self.text_loss(own, labels, mask) + dice(own, labels, mask)}
