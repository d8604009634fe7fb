"""The `dkd` method: decoupled distillation of the steps of an attention reader."""

import torch
from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.frames import labels_of, line_mean
from graphkd.distill.losses.functional import softened_kl
from graphkd.distill.losses.options import number
from graphkd.distill.outputs import Outputs, Targets


def decoupled_divergence(
    student_logits: Tensor, teacher_logits: Tensor, classes: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """The divergence of the true class against the rest, and that among the rest.

    Args:
        student_logits: (..., C).
        teacher_logits: (..., C), taken as a constant.
        classes: (...) int64, the true class.
        temperature: T, above 0.

    Returns:
        T^2 KL of the two probabilities (true class, all others) and T^2 KL of the softmax without
        the true class, both (...) float32.
    """
    true = F.one_hot(classes, student_logits.shape[-1]).bool()
    binary, rest = [], []
    for logits in (student_logits.float(), teacher_logits.detach().float()):
        logs = F.log_softmax(logits / temperature, -1)
        others = logs.masked_fill(true, float("-inf")).logsumexp(-1)
        binary.append(torch.stack([logs[true].view(others.shape), others], -1))
        rest.append(logits[~true].view(*others.shape, -1))
    target = F.kl_div(*binary, reduction="none", log_target=True).sum(-1)
    return temperature**2 * target, softened_kl(*rest, temperature=temperature)


@register("dkd")
class DKD(DistillLoss):
    """ALPHA times the divergence of the true class against the rest plus BETA times that among the
    rest, a mean over the characters of a line and its end, then over lines.

    Source: Zhao et al., Decoupled Knowledge Distillation, with the factors of PaddleOCR.
    """

    needs = frozenset({"steps"})
    reads = frozenset({"texts"})
    needs_same_classes = True

    def __init__(
        self,
        context: LossContext,
        *,
        alpha: float = 1.0,
        beta: float = 2.0,
        temperature: float = 1.0,
    ):
        """Takes the options.

        Args:
            context: facts about the pair.
            alpha: factor of the true class against the rest.
            beta: factor of the divergence among the rest.
            temperature: T of the softened probabilities.
        """
        super().__init__()
        if context.sequence != "steps" or context.encode is None:
            raise ValueError("needs the steps of an attention reader of text lines")
        self.alpha, self.beta = number("alpha", alpha), number("beta", beta)
        if not self.alpha + self.beta:
            raise ValueError("ALPHA and BETA must not both be 0")
        self.temperature = number("temperature", temperature, positive=True)
        self.encode = context.encode

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `steps`."""
        own, other = student.steps.logits, teacher.steps.logits
        labels = labels_of(targets.texts, self.encode, device=own.device)
        # Both wrote the label; a text of L characters has L + 1 steps, then comes padding.
        count = min(own.shape[1], other.shape[1], labels.classes.shape[1] + 1)
        step = torch.arange(count, device=own.device)
        ends = step == labels.lengths[:, None]
        # The last class ends a text.
        classes = F.pad(labels.classes, (0, 1))[:, :count].masked_fill(ends, own.shape[2] - 1)
        target, rest = decoupled_divergence(
            own[:, :count], other[:, :count], classes, temperature=self.temperature
        )
        kept = step <= labels.lengths[:, None]
        return {"steps": line_mean(self.alpha * target + self.beta * rest, kept)}
