"""The losses of GFL: quality focal loss, distribution focal loss, GIoU or CIoU."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, generalized_box_iou_loss

from graphkd.distill.comm import count_per_process
from graphkd.distill.outputs import Assignment
from graphkd.modeling.dense.edges import EdgeTransform, by_edge, expected_distances, paired_iou

IOU_LOSSES = {"giou": generalized_box_iou_loss, "ciou": complete_box_iou_loss}
# Targets stay this far below the last bin, so that there is always a bin on either side.
CLAMP = 0.1
# Predicted boxes are at least this wide and high, in pixels: CIoU divides by their height.
LEAST_SIDE = 1e-3
# float32 has no number between this and 1 that would matter to a logarithm.
NEARLY_ONE = 1 - 1e-7


@dataclass(frozen=True)
class Rows:
    """What a head said about all anchors, levels one after the other.

    Attributes:
        logits: (N, A, K) raw class logits.
        edges: (N, A, 4 * (n + 1)) edge logits.
        quality: (N, A, 1) estimated quality in 0..1; None for GFL v1.
        anchors: (A, 4).
    """

    logits: Tensor
    edges: Tensor
    quality: Tensor | None
    anchors: Tensor


def quality_focal_loss(logits: Tensor, targets: Tensor, quality: Tensor | None = None) -> Tensor:
    """|y - p|^2 times the binary cross-entropy of p and y, element by element.

    Source: Li et al., Generalized Focal Loss, equation 5, beta 2. For v2 the score is a product of
    two probabilities, so the cross-entropy is that of a probability.

    Args:
        logits: (..., K) class logits.
        targets: (..., K) y in 0..1.
        quality: (..., 1) in 0..1; p is the sigmoid score times this. None for v1.

    Returns:
        (..., K) float32.
    """
    logits = logits.float()
    scores = logits.sigmoid()
    if quality is None:
        entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    else:
        scores = scores * quality.float()
        entropy = -targets * scores.clamp(min=1 - NEARLY_ONE).log()
        entropy = entropy - (1 - targets) * torch.log1p(-scores.clamp(max=NEARLY_ONE))
    return (targets - scores).square() * entropy


def distribution_focal_loss(edges: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with the two bins around a distance, weighted by how near they are.

    Source: Li et al., Generalized Focal Loss, equation 6.

    Args:
        edges: (..., n + 1) logits.
        targets: (...) distances in 0..n - 0.1.

    Returns:
        The loss, of the shape of `targets`.
    """
    chances = F.log_softmax(edges.float(), -1)
    left = targets.long()
    near = targets - left
    pair = chances.gather(-1, torch.stack([left, left + 1], -1))
    return -(pair[..., 0] * (1 - near) + pair[..., 1] * near)


def box_iou_loss(boxes: Tensor, truth: Tensor, *, kind: str) -> Tensor:
    """1 - GIoU or 1 - CIoU of boxes (P, 4) and their objects (P, 4): (P,)."""
    far = torch.maximum(boxes[:, 2:], boxes[:, :2] + LEAST_SIDE)
    return IOU_LOSSES[kind](torch.cat([boxes[:, :2], far], 1), truth, reduction="none")


def gfl_losses(
    rows: Rows,
    assignment: Assignment,
    boxes: Sequence[Tensor],
    classes: Sequence[Tensor],
    *,
    iou_loss: str,
    box_weight: float,
    dfl_weight: float,
) -> dict[str, Tensor]:
    """The losses of one batch.

    The class term is divided by the positive anchors, the other two, which are weighted by the best
    class score of each, by the sum of these weights; both over all processes, and at least 1.

    Args:
        rows: what the head said.
        assignment: owner of every anchor.
        boxes: per image (G_i, 4).
        classes: per image (G_i,) int64.
        iou_loss: one of `IOU_LOSSES`.
        box_weight: factor of the IoU loss.
        dfl_weight: factor of the distribution focal loss.

    Returns:
        `loss_cls`, `loss_box_reg` and `loss_dfl`, float32 scalars; 0 with a gradient path where
        there is nothing to train on.
    """
    transform = EdgeTransform()
    owners, valid = torch.stack(assignment.owners), torch.stack(assignment.valid)
    image, place = torch.nonzero(owners >= 0, as_tuple=True)
    counts = torch.tensor([0, *map(len, boxes)], device=owners.device)
    index = counts.cumsum(0)[image] + owners[image, place]
    truth, labels = torch.cat(list(boxes))[index], torch.cat(list(classes))[index]
    anchors, edges = rows.anchors[place], by_edge(rows.edges[image, place])
    found = transform.apply_deltas(expected_distances(edges), anchors)

    logits = rows.logits.float()
    scores = logits.detach()[image, place].sigmoid()
    if rows.quality is not None:
        scores = scores * rows.quality.detach()[image, place].float()
    weights = scores.amax(1)
    targets = torch.zeros_like(logits)
    targets[image, place, labels] = paired_iou(found.detach(), truth)
    quality = None if rows.quality is None else rows.quality[valid]
    loss_cls = quality_focal_loss(logits[valid], targets[valid], quality).sum()
    loss_box = (box_iou_loss(found, truth, kind=iou_loss) * weights).sum()
    last = edges.shape[-1] - 1
    distances = transform.get_deltas(anchors, truth).clamp(0, last - CLAMP)
    loss_dfl = (distribution_focal_loss(edges, distances).mean(1) * weights).sum()

    positives = count_per_process(torch.tensor(len(place), device=owners.device))
    weight = count_per_process(weights.sum())
    return {
        "loss_cls": loss_cls / positives,
        "loss_box_reg": box_weight * loss_box / weight,
        "loss_dfl": dfl_weight * loss_dfl / weight,
    }
