"""The `ctc_posterior` method: where the teacher writes the characters of the label."""

import torch
from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.frames import (
    LEAST,
    Labels,
    frame_lengths,
    frame_means,
    kept_at_student,
    label_posteriors,
    labels_of,
    live_posteriors,
    need_frames,
    on_time,
)
from graphkd.distill.losses.functional import mean_of_present
from graphkd.distill.losses.options import one_of, switch, whole_number
from graphkd.distill.outputs import Outputs, Targets

MODES = ("frames", "posterior")
MOST_SHIFT = 2


def cross_entropy(student_logs: Tensor, gamma: Tensor) -> Tensor:
    """-sum over classes of gamma log y at every frame, (N, T).

    Args:
        student_logs: (N, T, C) log-probabilities of the student.
        gamma: (N, T, C) posteriors of the teacher, a constant.
    """
    return -(gamma * student_logs).sum(-1)


def posterior_divergence(student_gamma: Tensor, gamma: Tensor) -> Tensor:
    """KL(gamma || student_gamma) at every frame, (N, T).

    Where the label allows the student no class that the teacher writes, that class is left out and
    the teacher's rest is made a distribution again.
    """
    kept = gamma * (student_gamma > LEAST)
    kept = kept / kept.sum(-1, keepdim=True).clamp(min=LEAST)
    logs = kept.clamp(min=LEAST).log() - student_gamma.clamp(min=LEAST).log()
    return (kept * logs).sum(-1)


@register("ctc_posterior")
class CTCPosterior(DistillLoss):
    """The probabilities of the teacher's frames, given the label (gamma), as soft alignment.

    Mode `frames` is the slope of CTC with the teacher's alignment in the place of the student's:
    -sum of gamma log y. Mode `posterior` compares gamma of both, KL(teacher || student). Both are
    means over the frames of a line, times its confidence, then means over lines. A line whose label
    does not fit into the frames is left out.

    Source: ours; gamma is that of Graves et al., Connectionist Temporal Classification, section 4.
    """

    needs = frozenset({"frames"})
    reads = frozenset({"texts"})
    needs_same_classes = True

    def __init__(
        self,
        context: LossContext,
        *,
        mode: str = "frames",
        shift: int = 0,
        confidence: bool = True,
    ):
        """Takes the options.

        Args:
            context: facts about the pair.
            mode: frames or posterior.
            shift: the teacher's alignment is moved by up to so many frames (at most 2) to either
                side, line by line, whichever costs least.
            confidence: whether a line is weighted by the teacher's p(label)^(1 / length).
        """
        super().__init__()
        need_frames(context)
        self.mode = one_of("mode", mode, MODES)
        self.shift = whole_number("shift", shift, least=0)
        if self.shift > MOST_SHIFT:
            raise ValueError(f"SHIFT must be {MOST_SHIFT} or less, not {shift}")
        self.confidence = switch("confidence", confidence)
        self.encode = context.encode

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `frames` or `posterior`, by the mode."""
        own, other = student.frames, teacher.frames
        labels = labels_of(targets.texts, self.encode, device=own.logits.device)
        lengths, other_lengths = frame_lengths(own), frame_lengths(other)
        gamma, log_likelihood = label_posteriors(other.logits, other_lengths, labels)
        kept, fits = kept_at_student(own, other), labels.fit(other_lengths)
        if self.mode == "frames":
            found = F.log_softmax(own.logits.float(), -1)
        else:
            found, fits = live_posteriors(own.logits, lengths, labels), fits & labels.fit(lengths)
        distance = cross_entropy if self.mode == "frames" else posterior_divergence
        sizes = {"size": kept.shape[1], "onto": lengths}
        shifts = range(-self.shift, self.shift + 1)
        moved = (on_time(gamma, other_lengths, **sizes, shift=shift) for shift in shifts)
        values = torch.stack([frame_means(distance(found, each), kept) for each in moved]).amin(0)
        sure = self._confidence(labels, log_likelihood, fits)
        return {self.mode: mean_of_present(sure * values, fits & kept.any(1))}

    def _confidence(self, labels: Labels, log_likelihood: Tensor, fits: Tensor) -> Tensor:
        """The weight of every line, (N,); logs the share of lines below 0.5 as `unsure`."""
        scores = labels.scores(log_likelihood) * fits
        self.log = {"unsure": (scores < 0.5).float().mean()}
        return scores if self.confidence else torch.ones_like(scores)
