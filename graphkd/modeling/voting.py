"""Suppression of overlapping boxes in which those of a cluster vote on where its edges are."""

from functools import partial
from types import MethodType

import torch
from detectron2.layers import batched_nms
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn
from torchvision.ops import box_iou

from graphkd.errors import UserError

# Boxes of an image that take part, best first: memory grows with the square of their number.
MOST_BOXES = 1000
# Exponent of the centre distance in DIoU; below 1 it counts more.
DISTANCE_POWER = 0.8
# Boxes of a smaller overlap have no vote, and how fast votes fall with the overlap.
LEAST_OVERLAP, SPREAD = 0.7, 0.025


def suppress(found: Instances, *, overlap: float, most: int, voting: bool) -> Instances:
    """The boxes of one image that are kept, best first.

    Args:
        found: pred_boxes, scores and pred_classes.
        overlap: IoU, with voting DIoU, above which the worse box of one class goes.
        most: how many are kept.
        voting: see `score_voting`; False is plain class-wise suppression.
    """
    boxes, scores, classes = found.pred_boxes.tensor, found.scores, found.pred_classes
    if not voting:
        return found[batched_nms(boxes, scores, classes, overlap)[:most]]
    voted, kept = score_voting(boxes, scores, classes, overlap=overlap)
    result = found[kept[:most]]
    result.pred_boxes = Boxes(voted[:most])
    return result


def score_voting(
    boxes: Tensor, scores: Tensor, classes: Tensor, *, overlap: float
) -> tuple[Tensor, Tensor]:
    """Suppression by DIoU; every kept box becomes a weighted mean of itself and the worse boxes
    near it.

    Source: Zheng et al., Localization Distillation for Object Detection (2021), section 3.4, and
    Enhancing Geometric Factors in Model Learning and Inference (2021) for the cluster form.
    Differs from the code: classes are compared directly; the code shifts the boxes of each class
    instead, which costs digits on large pages. Boxes without a vote weigh 0 and not 1e-18.

    Args:
        boxes: (n, 4) x1 y1 x2 y2.
        scores: (n,) in 0..1.
        classes: (n,) int64.
        overlap: DIoU above which the worse box goes.

    Returns:
        (k, 4) float32 boxes, best first, and the (k,) places of the boxes that were kept. Only the
        `MOST_BOXES` best take part.
    """
    order = scores.argsort(descending=True, stable=True)[:MOST_BOXES]
    own, weights = boxes[order].float(), scores[order].float()
    # DIoU is never above IoU, so only pairs of enough IoU can suppress or vote.
    alike = classes[order][:, None] == classes[order]
    close = alike & (box_iou(own, own) > min(overlap, LEAST_OVERLAP))
    better, worse = torch.nonzero(torch.triu(close, diagonal=1), as_tuple=True)
    nearness = powered_diou(own[better], own[worse])
    near = nearness > overlap
    kept = cluster(better[near], worse[near], count=len(own))
    votes = weights[worse] * (-((1 - nearness) ** 2) / SPREAD).exp() * (nearness > LEAST_OVERLAP)
    total = weights.index_add(0, better, votes)
    moved = (own * weights[:, None]).index_add(0, better, own[worse] * votes[:, None])
    return (moved / total[:, None])[kept], order[kept]


def powered_diou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU minus (squared centre distance / squared diagonal of the enclosing box) ^ 0.8.

    Args:
        boxes: (p, 4) x1 y1 x2 y2.
        others: (p, 4), one for each.

    Returns:
        (p,) in -1..1.
    """
    distance = ((boxes[:, :2] + boxes[:, 2:] - others[:, :2] - others[:, 2:]) / 2).square().sum(1)
    near, far = torch.minimum(boxes, others), torch.maximum(boxes, others)
    diagonal = (far[:, 2:] - near[:, :2]).square().sum(1).clamp(min=1e-9)
    common = (near[:, 2:] - far[:, :2]).clamp(min=0).prod(1)
    areas = [(each[:, 2:] - each[:, :2]).prod(1) for each in (boxes, others)]
    overlap = common / (areas[0] + areas[1] - common).clamp(min=1e-9)
    return overlap - (distance / diagonal) ** DISTANCE_POWER


def cluster(better: Tensor, worse: Tensor, *, count: int) -> Tensor:
    """Which boxes greedy suppression keeps, found in a few rounds over all pairs at once.

    Args:
        better: (p,) int64, the box of each near pair that comes first in order of falling score.
        worse: (p,) int64, the other one.
        count: number of boxes.

    Returns:
        (count,) bool.
    """
    kept = torch.ones(count, dtype=torch.bool, device=better.device)
    # Each round settles at least one more box, so there are never more rounds than boxes.
    for _ in range(count):
        now = torch.ones_like(kept)
        now[worse[kept[better]]] = False
        if torch.equal(now, kept):
            break
        kept = now
    return kept


def use_score_voting(model: nn.Module) -> None:
    """Lets a dense detector of Detectron2 suppress by `score_voting`.

    Raises:
        UserError: a two-stage detector.
    """
    if not isinstance(model, DenseDetector):
        raise UserError(
            f"TEST.SCORE_VOTING is for one-stage detectors, not {type(model).__name__}; set it to "
            "False"
        )
    model.inference_single_image = MethodType(partial(suppressed, voting=True), model)


def suppressed(
    model: DenseDetector,
    anchors: list[Boxes],
    scores: list[Tensor],
    deltas: list[Tensor],
    size: tuple[int, int],
    *,
    voting: bool,
) -> Instances:
    """The boxes of one page after suppression, cut off at the page.

    Args:
        model: what decodes the boxes and knows the limits.
        anchors: per level.
        scores: per level (A, K) in 0..1.
        deltas: per level (A, 4).
        size: (height, width) of the page.
        voting: see `score_voting`.
    """
    limits = model.test_score_thresh, model.test_topk_candidates
    found = model._decode_multi_level_predictions(anchors, scores, deltas, *limits, size)
    found.pred_boxes.clip(size)
    most = model.max_detections_per_image
    return suppress(found, overlap=model.test_nms_thresh, most=most, voting=voting)
