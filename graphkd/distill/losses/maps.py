"""What the losses on text maps share: maps and labels brought to one size, means over the pixels
that are trained on, and the entropy of a map.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.comm import count_per_process
from graphkd.distill.losses.base import LossContext
from graphkd.distill.outputs import Outputs, Targets


def need_text_map(context: LossContext) -> None:
    """Both models give a text map."""
    if "text" not in context.maps:
        raise ValueError("needs the text map of a text detector")


def resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (N, C, h, w) at `size`: an area mean where they shrink, bilinear where they grow."""
    if values.shape[-2:] == size:
        return values
    if values.shape[-2] >= size[0] and values.shape[-1] >= size[1]:
        return F.interpolate(values, size, mode="area")
    return F.interpolate(values, size, mode="bilinear", align_corners=False)


def labels_at(targets: Targets, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Text labels and training mask at the size of a map.

    Args:
        targets: `maps` with `text` and `mask` (N, 1, H, W) of 0 and 1.
        size: (h, w) of a map of the same padded batch.

    Returns:
        Two (N, 1, h, w) float32 of 0 and 1. A cell is text if half of its pixels are, and trained
        on if all of them are.
    """
    text, mask = targets.maps["text"].float(), targets.maps["mask"].float()
    return (resized(text, size) >= 0.5).float(), (resized(mask, size) > 0.999).float()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of `values` over the cells of `mask` (same shape, 0 and 1) of all processes; 0 with
    a gradient path where there is none.
    """
    return (values * mask).sum() / count_per_process(mask.sum())


def text_pair(
    student: Outputs, teacher: Outputs, targets: Targets
) -> tuple[Tensor, Tensor, Tensor]:
    """The text maps of both networks on the cells of the student's.

    The teacher's map may have another stride and may be padded further. Both networks pad at the
    right and the bottom, where the mask is 0.

    Returns:
        Logits of the student, logits of the teacher (a constant) and the mask of 0 and 1, all
        (N, 1, h, w) float32. The mask leaves out pixels where the teacher's map `trusted` is 0.
    """
    own = student.maps["text"].float()
    size, batch = own.shape[-2:], targets.maps["text"].shape[-2:]
    other = _on_batch(teacher.maps["text"].detach().float(), batch=batch)
    mask = labels_at(targets, size)[1]
    if "trusted" in teacher.maps:
        trusted = _on_batch(teacher.maps["trusted"].float(), batch=batch)
        mask = mask * (resized(trusted, size) > 0.999)
    return own, resized(other, size), mask


def _on_batch(values: Tensor, *, batch: tuple[int, int]) -> Tensor:
    """A map of the teacher cut or padded to the student's padded batch (height, width), at its own
    stride, a power of two.
    """
    height, width = values.shape[-2:]
    # The logarithm of the stride, but for the padding, which is far below a factor of two.
    stride = 2 ** max(0, round(math.log2(batch[0] * batch[1] / (height * width)) / 2))
    rows, columns = (-(-side // stride) for side in batch)
    return F.pad(values, (0, columns - width, 0, rows - height))


def entropy(logits: Tensor) -> Tensor:
    """Entropy in bits of the text probability of every cell, float32 in [0, 1].

    It is 1 at the logit 0 and the same for z and -z. Computed from the logit, because log(p) is
    infinite where p is 0.
    """
    logits = logits.float()
    return (F.softplus(logits) - logits * logits.sigmoid()) / math.log(2)


def dice(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Dice loss of the text probability over the mask, a scalar in [0, 1]."""
    found = logits.float().sigmoid() * mask
    both = (found * labels).sum()
    return 1 - 2 * both / (found.sum() + (labels * mask).sum() + 1e-6)


@torch.no_grad()
def auc(logits: Tensor, labels: Tensor, mask: Tensor, *, most: int = 4096) -> Tensor:
    """Probability that a text cell has a higher logit than a background cell; 0.5 if one kind is
    missing.

    Args:
        logits: (N, 1, h, w).
        labels: of 0 and 1, the same shape.
        mask: cells that count, the same shape.
        most: about this many cells are used, evenly spaced, because it is logged at every step.
    """
    kept = mask.flatten() > 0
    step = max(1, int(kept.sum()) // most)
    values = logits.float().flatten()[kept][::step]
    text = labels.flatten()[kept][::step] > 0
    positive, negative = values[text], values[~text].sort().values
    if not len(positive) or not len(negative):
        return values.new_tensor(0.5)
    below = torch.searchsorted(negative, positive)
    ties = torch.searchsorted(negative, positive, right=True) - below
    return (below + 0.5 * ties).float().mean() / len(negative)
