"""The losses of DB and EAST on raw maps; all in float32, whatever autocast computes in."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from graphkd.text.east import QUAD_REACH, RBOX_REACH

# Steepness of the soft step between text and threshold.
SHARPNESS = 50.0
# Hard negatives per positive, and per page where a batch has no positive.
NEGATIVES_PER_POSITIVE = 3
NEGATIVES_PER_PAGE = 512
EPS = 1e-6
FOCAL = (0.25, 2.5)


def db_losses(
    maps: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    *,
    text_loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    binary_weight: float,
    threshold_weight: float,
) -> dict[str, Tensor]:
    """The three losses of DB, weighted.

    Args:
        maps: `text` and `threshold` logits (N, 1, H, W).
        targets: `text`, `mask`, `threshold` (0.3..0.7) and `threshold_mask`, (N, 1, H, W).
        text_loss: of the text map, from logits, truth and mask; weighted.
        binary_weight: of the dice loss of the soft step.
        threshold_weight: of the L1 loss of the threshold map.
    """
    text, threshold = maps["text"].float(), maps["threshold"].float()
    truth, mask = targets["text"], targets["mask"]
    border = threshold.sigmoid()
    binary = (SHARPNESS * (text.sigmoid() - border)).sigmoid()
    inside = targets["threshold_mask"]
    away = ((border - targets["threshold"]).abs() * inside).sum() / inside.sum().clamp(min=1)
    return {
        "loss_text": text_loss(text, truth, mask),
        "loss_binary": binary_weight * overlap_loss(binary, truth, mask),
        "loss_threshold": threshold_weight * away,
    }


def hard_cross_entropy(logits: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Cross entropy over all positives and the hardest negatives of the batch.

    With positives, three times as many negatives; without one, NEGATIVES_PER_PAGE a page [ours],
    since pages without text must train, too.

    Args:
        logits: (N, 1, H, W).
        truth: the same shape, 0 or 1.
        mask: the same shape, 1 where a pixel is trained on.
    """
    loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    positive = truth * mask
    count = int(positive.sum())
    negatives = (loss * (1 - truth) * mask).flatten()
    wanted = NEGATIVES_PER_POSITIVE * count if count else NEGATIVES_PER_PAGE * len(logits)
    wanted = min(wanted, int(((1 - truth) * mask).sum()))
    hardest = negatives.topk(wanted, sorted=False).values.sum() if wanted else negatives.sum() * 0
    return ((loss * positive).sum() + hardest) / max(count + wanted, 1)


def dice(logits: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """`overlap_loss` of the probabilities."""
    return overlap_loss(logits.sigmoid(), truth, mask)


def overlap_loss(probability: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """The dice loss, 1 - 2 |P Y| / (|P| + |Y|), over the pixels of `mask`."""
    both = (probability * truth * mask).sum()
    return 1 - 2 * both / ((probability * mask).sum() + (truth * mask).sum() + EPS)


def focal(logits: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """The focal loss with FOCAL, divided by the number of positives."""
    alpha, gamma = FOCAL
    loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = (truth - logits.sigmoid()).abs()
    weight = torch.where(truth > 0.5, alpha, 1 - alpha) * wrong**gamma
    return (weight * loss * mask).sum() / (truth * mask).sum().clamp(min=1)


def balanced_cross_entropy(logits: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Cross entropy in which text weighs the share of background, and background that of text."""
    area = mask.sum().clamp(min=1)
    share = (truth * mask).sum() / area
    weight = torch.where(truth > 0.5, 1 - share, share) * mask
    loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (weight * loss).sum() / area


def east_losses(
    maps: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    *,
    geometry: str,
    text_loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    angle_weight: float,
    per_pixel: bool,
) -> dict[str, Tensor]:
    """The score and the geometry loss of EAST.

    Args:
        maps: `text` (N, 1, h, w) and `geometry` (N, 5 or 8, h, w), raw, at stride 4.
        targets: `text` and `mask` (N, 1, H, W) at full size, `geometry` at stride 4: top, right,
            bottom, left in pixels and the angle in radians, or eight corner offsets in pixels and
            their weight.
        geometry: "rbox" or "quad".
        text_loss: of the score map, from logits, truth and mask; weighted.
        angle_weight: of the angle's loss.
        per_pixel: divide the geometry loss by all pixels, as the published code does, instead of
            by those of text.
    """
    logits, raw = maps["text"].float(), maps["geometry"].float()
    stride = targets["text"].shape[-1] // logits.shape[-1]
    truth, mask = (targets[name][..., ::stride, ::stride] for name in ("text", "mask"))
    rows = _rbox_loss if geometry == "rbox" else _quad_loss
    inside = (truth * mask)[:, 0]
    loss = rows(raw, targets["geometry"], angle_weight) * inside
    divisor = inside.numel() if per_pixel else inside.sum().clamp(min=1)
    return {"loss_text": text_loss(logits, truth, mask), "loss_geometry": loss.sum() / divisor}


def _rbox_loss(raw: Tensor, truth: Tensor, angle_weight: float) -> Tensor:
    """(N, h, w): -log IoU of the distances as if both boxes had one angle, and the angle's loss."""
    sides, angle = RBOX_REACH * raw[:, :4].sigmoid(), (raw[:, 4].sigmoid() - 0.5) * math.pi / 2
    wanted = truth[:, :4]
    common = torch.minimum(sides, wanted)
    both = (common[:, 0] + common[:, 2]) * (common[:, 1] + common[:, 3])
    found, there = (
        (each[:, 0] + each[:, 2]) * (each[:, 1] + each[:, 3]) for each in (sides, wanted)
    )
    overlap = ((found + there - both + 1) / (both + 1)).log()
    return overlap + angle_weight * (1 - (angle - truth[:, 4]).cos())


def _quad_loss(raw: Tensor, truth: Tensor, angle_weight: float) -> Tensor:
    """(N, h, w): smooth L1 of the corner offsets times the weight of each text."""
    offsets = 2 * QUAD_REACH * (raw.sigmoid() - 0.5)
    return F.smooth_l1_loss(offsets, truth[:, :8], reduction="none").sum(1) * truth[:, 8]


# Losses of the text map by name: DB's and EAST's, each with its default first.
TEXT_LOSSES = {"bce": hard_cross_entropy, "dice": dice, "focal": focal}
SCORE_LOSSES = {"dice": dice, "balanced": balanced_cross_entropy}
