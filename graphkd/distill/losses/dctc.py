"""The `dctc` method: a CTC reader that learns its own best alignment. No teacher."""

from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.frames import (
    frame_lengths,
    kept_frames,
    label_posteriors,
    labels_of,
    line_mean,
    need_frames,
)
from graphkd.distill.outputs import Outputs, Targets


def alignment_cross_entropy(logits: Tensor, gamma: Tensor) -> Tensor:
    """Cross entropy of every frame towards the most probable class of gamma, (N, T) float32."""
    best = gamma.argmax(-1)
    return F.cross_entropy(logits.float().flatten(0, 1), best.flatten(), reduction="none").view(
        best.shape
    )


@register("dctc")
class DCTC(DistillLoss):
    """Cross entropy of the frames towards the most probable class given the label (argmax gamma),
    beside the model's own CTC loss; a mean over the frames of a line, then over lines.

    WEIGHT is the paper's lambda. A line whose label does not fit into its frames is left out.

    Source: Zhang et al., Self-distillation Regularized CTC Loss for Text Recognition.
    """

    needs = frozenset({"frames"})
    reads = frozenset({"texts"})
    needs_teacher = False

    def __init__(self, context: LossContext):
        """Takes no options."""
        super().__init__()
        need_frames(context)
        self.encode = context.encode

    def forward(self, student: Outputs, teacher: None, targets: Targets) -> dict[str, Tensor]:
        """Returns `frames`."""
        own = student.frames
        labels = labels_of(targets.texts, self.encode, device=own.logits.device)
        lengths = frame_lengths(own)
        gamma, _ = label_posteriors(own.logits, lengths, labels)
        values = alignment_cross_entropy(own.logits, gamma)
        return {"frames": line_mean(values, kept_frames(own), present=labels.fit(lengths))}
