"""What the losses on frames of CTC readers share: valid frames, means over them, a teacher's frames
on the student's time, and the posterior of every frame given the label.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.losses.base import LossContext
from graphkd.distill.losses.functional import mean_of_present
from graphkd.distill.outputs import Outputs, Sequence

# A log-probability for what cannot happen. Infinity would give gradients of NaN.
NEVER = -1e30
# Probabilities below this are 0 in divergences; their logarithm stays finite in float32.
LEAST = 1e-20
RESAMPLE = ("linear", "nearest")


def need_frames(context: LossContext) -> None:
    """Both models are CTC readers of one charset."""
    if context.sequence != "frames" or context.encode is None:
        raise ValueError("needs the frames of a CTC reader of text lines")


def frame_lengths(frames: Sequence) -> Tensor:
    """Number of valid frames of every line, (N,) int64."""
    if frames.lengths is not None:
        return frames.lengths
    lines, time, _ = frames.logits.shape
    return torch.full((lines,), time, device=frames.logits.device)


def kept_frames(frames: Sequence) -> Tensor:
    """The frames that count, (N, T) bool: valid, and trusted where a teacher says so."""
    time = torch.arange(frames.logits.shape[1], device=frames.logits.device)
    kept = time < frame_lengths(frames)[:, None]
    return kept if frames.trusted is None else kept & frames.trusted


def on_time(
    values: Tensor,
    lengths: Tensor,
    *,
    size: int,
    onto: Tensor,
    shift: int = 0,
    resample: str = "linear",
) -> Tensor:
    """Values of one network's frames at the times of another's.

    The valid frames of both cover the same pixels, so time is stretched line by line.

    Args:
        values: (N, T, C).
        lengths: (N,) valid frames of `values`.
        size: number of frames of the result.
        onto: (N,) valid frames of the result.
        shift: frames of the result by which the values come later; the ends are repeated.
        resample: linear or nearest.

    Returns:
        (N, size, C). Rows that sum to 1 keep doing so.
    """
    if not shift and values.shape[1] == size and torch.equal(lengths, onto):
        return values
    time = torch.arange(size, device=values.device) - shift + 0.5
    last = (lengths - 1)[:, None].float()
    place = time * (lengths / onto)[:, None] - 0.5
    place = torch.minimum(place.clamp(min=0), last)
    if resample == "nearest":
        place = place.round()
    before = place.floor()
    share = (place - before)[..., None]

    def rows(at: Tensor) -> Tensor:
        return values.gather(1, at.long()[..., None].expand(-1, -1, values.shape[2]))

    return torch.lerp(rows(before), rows(torch.minimum(before + 1, last)), share)


def frame_pair(
    student: Outputs, teacher: Outputs, *, resample: str = "linear"
) -> tuple[Tensor, Tensor, Tensor]:
    """The frames of both networks at the student's times.

    Returns:
        Log-probabilities of the student and of the teacher (a constant), both (N, T, C) float32,
        and the frames that count, (N, T) bool.
    """
    own, other = student.frames, teacher.frames
    student_logs = F.log_softmax(own.logits.float(), -1)
    teacher_logs = F.log_softmax(other.logits.detach().float(), -1)
    sizes = {"size": student_logs.shape[1], "onto": frame_lengths(own), "resample": resample}
    probabilities = teacher_logs.exp()
    moved = on_time(probabilities, frame_lengths(other), **sizes)
    if moved is not probabilities:
        teacher_logs = moved.clamp(min=LEAST).log()
    return student_logs, teacher_logs, kept_at_student(own, other)


def kept_at_student(own: Sequence, other: Sequence) -> Tensor:
    """The student's valid frames where the teacher's are trusted, (N, T) bool."""
    kept = kept_frames(own)
    if other.trusted is None:
        return kept
    sizes = {"size": kept.shape[1], "onto": frame_lengths(own)}
    trusted = on_time(other.trusted.float()[..., None], frame_lengths(other), **sizes)
    return kept & (trusted[..., 0] > 0.999)


def frame_means(values: Tensor, weights: Tensor) -> Tensor:
    """The mean of `values` (N, T) over the frames of a line by `weights` (same shape), (N,).

    Lines without any weight give 0.
    """
    weights = weights.float()
    # `where`, because 0 times a padded frame's infinity would be NaN.
    kept = torch.where(weights > 0, values, torch.zeros_like(values))
    return (kept * weights).sum(1) / weights.sum(1).clamp(min=1e-6)


def line_mean(values: Tensor, weights: Tensor, *, present: Tensor | None = None) -> Tensor:
    """`frame_means`, then the mean over the lines that have weight and are `present`."""
    lines = (weights > 0).any(1)
    return mean_of_present(
        frame_means(values, weights), lines if present is None else lines & present
    )


@dataclass(frozen=True)
class Labels:
    """The labels of a batch as class numbers.

    Attributes:
        classes: (N, L) int64, padded with 0; L is at least 1.
        lengths: (N,) int64.
    """

    classes: Tensor
    lengths: Tensor

    def fit(self, lengths: Tensor) -> Tensor:
        """Whether every label can be written in its number of frames, (N,) bool: between equal
        neighbours stands a blank.
        """
        right = self.classes[:, 1:]
        repeats = ((right == self.classes[:, :-1]) & (right > 0)).sum(1)
        return lengths >= self.lengths + repeats

    def scores(self, log_likelihood: Tensor) -> Tensor:
        """p(label)^(1 / length) of every line, (N,) in 0..1."""
        return (log_likelihood / self.lengths.clamp(min=1)).exp()


def labels_of(
    texts: tuple[str, ...], encode: Callable[[str], list[int]], *, device: torch.device
) -> Labels:
    """The class numbers of texts."""
    rows = [encode(text) for text in texts]
    longest = max(1, *(len(row) for row in rows)) if rows else 1
    padded = [row + [0] * (longest - len(row)) for row in rows]
    classes = torch.tensor(padded, dtype=torch.int64, device=device).reshape(len(rows), longest)
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64, device=device)
    return Labels(classes, lengths)


def label_posteriors(logits: Tensor, lengths: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
    """The probability of every class at every frame, given the label, without gradient.

    The slope of CTC's loss in the logits is y - gamma, so gamma costs one backward pass of it.

    Args:
        logits: (N, T, C).
        lengths: (N,) valid frames.
        labels: the labels; what is given for one that does not fit has no meaning.

    Returns:
        gamma (N, T, C) float32, whose rows sum to 1 at valid frames and are 0 at others; and
        log p(label), (N,).
    """
    with torch.enable_grad():
        logits = logits.detach().float().requires_grad_()
        logs = F.log_softmax(logits, -1)
        losses = F.ctc_loss(
            logs.transpose(0, 1),
            labels.classes,
            lengths,
            labels.lengths,
            reduction="none",
            zero_infinity=True,
        )
        (slope,) = torch.autograd.grad(losses.sum(), logits)
    gamma = (logs.detach().exp() - slope).clamp(min=0)
    # Rounding leaves traces of other classes.
    there = gamma.new_zeros(gamma.shape[0], gamma.shape[2]).scatter(1, labels.classes, 1.0)
    there[:, 0] = 1
    gamma = gamma * there[:, None] * kept_frames(Sequence(logits, lengths))[..., None]
    return gamma / gamma.sum(-1, keepdim=True).clamp(min=LEAST), -losses.detach()


def live_posteriors(logits: Tensor, lengths: Tensor, labels: Labels) -> Tensor:
    """Gamma as `label_posteriors` gives it, with a gradient into the logits.

    A forward-backward pass in the log domain: a loop over time, all lines and states at once. At
    frames that are not valid the values have no meaning.
    """
    logs = F.log_softmax(logits.float(), -1)
    lines, time, classes = logs.shape
    # The states of a label: blank, first character, blank, second character, ..., blank.
    states = labels.classes.new_zeros(lines, 2 * labels.classes.shape[1] + 1)
    states[:, 1::2] = labels.classes
    places = states[:, None].expand(-1, time, -1)
    emitted = logs.gather(2, places)
    skips = torch.zeros_like(states, dtype=torch.bool)
    skips[:, 2:] = (states[:, 2:] > 0) & (states[:, 2:] != states[:, :-2])
    number = torch.arange(states.shape[1], device=states.device)
    last = 2 * labels.lengths[:, None]
    starts = (number < 2) & (number <= last)
    ends = (number == last) | (number == last - 1)
    first = torch.zeros_like(lengths)
    forward = _sweep(emitted, starts, first, skips)
    # The same in the other direction. The skip into state s from s + 2 is the one out of s.
    back = F.pad(skips.flip(1), (2, 0))[:, :-2]
    backward = _sweep(emitted.flip(1, 2), ends.flip(1), time - lengths, back).flip(1, 2)
    total = forward + backward - emitted
    # What cannot happen gets no gradient: at this size rounding would multiply it at every step.
    posterior = F.softmax(torch.where(total > NEVER / 2, total, NEVER), -1)
    return torch.zeros_like(logs).scatter_add(2, places, posterior)


def _sweep(emitted: Tensor, starts: Tensor, first: Tensor, skips: Tensor) -> Tensor:
    """Log-probabilities (N, T, S) of all ways that end in a state at a time.

    Args:
        emitted: (N, T, S) log-probability of a state's class.
        starts: (N, S) bool, states in which a way may begin.
        first: (N,) time at which the ways of a line begin.
        skips: (N, S) bool, states that may follow the one two before them.
    """
    start = torch.where(starts, 0.0, NEVER)
    state, rows = torch.full_like(start, NEVER), []
    for time, row in enumerate(emitted.unbind(1)):
        one = F.pad(state, (1, 0), value=NEVER)[:, :-1]
        two = F.pad(state, (2, 0), value=NEVER)[:, :-2].masked_fill(~skips, NEVER)
        moved = torch.stack([state, one, two]).logsumexp(0)
        state = torch.where((first == time)[:, None], start, moved) + row
        rows.append(state)
    return torch.stack(rows, 1)
