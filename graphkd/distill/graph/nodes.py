"""Which regions of one image become nodes of the graph; nothing about text, merging or edges.

Evidence: nodes are RoI-pooled proposal features [paper]; foreground plus background that the
teacher finds hard, cross entropy at least 0.6 [code, of the parent DSIG]; the cap on background and
the de-duplication [ours].
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms

TEXT, NONTEXT, BACKGROUND = 0, 1, 2
TYPE_NAMES = ("text", "nontext", "background")


def background_cross_entropy(teacher_logits: Tensor) -> Tensor:
    """How surprised the teacher would be if a region were background.

    Args:
        teacher_logits: (R, K + 1) class logits in the teacher's own class list, background last.

    Returns:
        (R,) cross entropy in nats, >= 0; 0.6 is a background probability of 0.549.
    """
    return -F.log_softmax(teacher_logits.float(), dim=1)[:, -1]


def select_regions(
    labels: Tensor,
    *,
    background: int,
    background_losses: Tensor | None,
    min_loss: float,
    max_background: int,
    keep: Tensor | None = None,
) -> Tensor:
    """Picks all foreground and the hardest background regions of one image.

    Args:
        labels: (R,) class of every region, `background` for background.
        background: the label of background.
        background_losses: (R,) output of `background_cross_entropy`; None for no background nodes.
        min_loss: background below this loss stays out.
        max_background: at most this many background regions, the largest losses first.
        keep: (R,) bool, regions that may be nodes at all; None for all.

    Returns:
        (n,) int64 rows in ascending order; empty for an image without foreground and hard
        background. This is the one place where an image's graph waits for the device.
    """
    chosen = labels != background
    candidates = ~chosen if keep is None else ~chosen & keep
    if keep is not None:
        chosen = chosen & keep
    if background_losses is not None and max_background > 0 and len(labels):
        losses = torch.where(candidates, background_losses, -torch.inf)
        best, rows = losses.topk(min(max_background, len(labels)))
        chosen = chosen.index_put((rows,), chosen[rows] | (best >= min_loss))
    return chosen.nonzero().flatten()


def keep_distinct(boxes: Tensor, labels: Tensor, scores: Tensor, *, max_iou: float) -> Tensor:
    """Marks one of every set of near copies of the same class, by non-maximum suppression.

    Args:
        boxes: (R, 4) x1 y1 x2 y2.
        labels: (R,) class; copies of different classes never suppress each other.
        scores: (R,) the largest score of a set of copies stays.
        max_iou: boxes that overlap more than this are copies.

    Returns:
        (R,) bool.
    """
    kept = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    kept[batched_nms(boxes.float(), scores.float(), labels, max_iou)] = True
    return kept


def match_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pools two sets of region features (n, *, h, w) to the smaller height and width."""
    size = tuple(min(a, b) for a, b in zip(first.shape[-2:], second.shape[-2:], strict=True))

    def pool(features: Tensor) -> Tensor:
        if tuple(features.shape[-2:]) == size:
            return features
        return F.adaptive_avg_pool2d(features, size)

    return pool(first), pool(second)
