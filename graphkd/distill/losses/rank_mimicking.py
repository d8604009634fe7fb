"""The `rank_mimicking` method: how the anchors of one object rank."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from graphkd.distill.comm import count_per_process
from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import (
    anchor_grids,
    dense_pair,
    on_shared_levels,
    shared_levels,
    sum_of_images,
)
from graphkd.distill.losses.options import need_anchors, need_same_classes, number, one_of
from graphkd.distill.outputs import Outputs, Targets


def positive_anchors(boxes: Tensor, anchors: Tensor, *, overlap: float) -> Tensor:
    """Which anchors belong to which object.

    Args:
        boxes: (G, 4) ground truth.
        anchors: (n, 4).
        overlap: least IoU.

    Returns:
        (G, n) bool: IoU >= `overlap`, and no other object has a larger one. An anchor belongs to
        one object at most.
    """
    if not len(boxes):
        return torch.zeros(0, len(anchors), dtype=torch.bool, device=anchors.device)
    best, owner = box_iou(boxes, anchors).max(0)
    objects = torch.arange(len(boxes), device=boxes.device)
    return (owner == objects[:, None]) & (best >= overlap)


def rank_divergence(student_scores: Tensor, teacher_scores: Tensor, members: Tensor) -> Tensor:
    """KL(teacher || student) of the softmax over the anchors of every object.

    Args:
        student_scores: (G, n) float32 scores of the object's class.
        teacher_scores: (G, n).
        members: (G, n) bool, at least one a row.

    Returns:
        (G,), 0 for an object with a single anchor.
    """
    lowest = torch.finfo(student_scores.dtype).min
    student_log = F.log_softmax(student_scores.masked_fill(~members, lowest), dim=1)
    teacher_log = F.log_softmax(teacher_scores.masked_fill(~members, lowest), dim=1)
    terms = teacher_log.exp() * (teacher_log - student_log)
    return torch.where(members, terms, torch.zeros_like(terms)).sum(1)


def sorted_divergence(student_logits: Tensor, teacher_logits: Tensor, members: Tensor) -> Tensor:
    """`rank_divergence` of the sigmoid scores, each network's anchors sorted by its own scores.

    So the k-th largest score of the student meets the k-th largest of the teacher, whichever
    anchors they belong to.
    """
    scores = [
        each.sigmoid().masked_fill(~members, torch.inf).sort(dim=1).values
        for each in (student_logits, teacher_logits)
    ]
    # members come first now, as the others are infinite
    places = torch.arange(members.shape[1], device=members.device)
    return rank_divergence(*scores, places < members.sum(1, keepdim=True))


@register("rank_mimicking")
class RankMimicking(DistillLoss):
    """Divergence of the anchors' ranking, a mean over the objects of an image.

    Two-stage detectors are compared by the RPN's objectness, one-stage detectors by the score of
    the object's class.

    Source: Li et al., Knowledge Distillation for Object Detection via Rank Mimicking and
    Prediction-guided Feature Imitation, section 3.2, and the implementation drafted for OpenMMLab.
    Differs from them: positives come from the overlap with the anchors in place of the head's own
    assignment; images without objects leave the mean.
    """

    needs = frozenset({"dense"})
    reads = frozenset({"boxes", "anchors"})

    def __init__(self, context: LossContext, *, scores: str = "sorted", overlap: float = 0.5):
        """Takes the options.

        Args:
            context: facts about the pair.
            scores: what the softmax of an object is taken of: sorted (the published code: sigmoid
                scores, sorted in each network by itself, and an object with a single anchor counts
                as 0), or logits (ours: the logits, anchor by anchor, and an object with a single
                anchor leaves the mean).
            overlap: IoU from which an anchor is a positive of an object, 0..1.
        """
        super().__init__()
        need_anchors(context)
        if not context.two_stage:
            need_same_classes(context, remedy="remove it or train the teacher on the same classes")
        self.width = 1 if context.two_stage else context.num_classes
        self.sorted = one_of("scores", scores, ("sorted", "logits")) == "sorted"
        self.overlap = number("overlap", overlap, most=1)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `rank`."""
        own, others = on_shared_levels(student.dense, teacher.dense)
        seen, wanted = dense_pair(own.logits, others.logits, width=self.width)
        sizes = [tuple(each.shape[-2:]) for each in student.dense.logits]
        grids = anchor_grids(targets, sizes)
        places, _ = shared_levels(student.dense, teacher.dense)
        shared = [
            grids[place][: each.shape[-2], : each.shape[-1]]
            for place, each in zip(places, others.logits, strict=True)
        ]
        anchors = torch.cat([grid.reshape(-1, 4) for grid in shared])
        divergence = sorted_divergence if self.sorted else rank_divergence
        images, count = [], 0
        for image, (boxes, classes) in enumerate(zip(targets.boxes, targets.classes, strict=True)):
            members = positive_anchors(boxes, anchors, overlap=self.overlap)
            ranked = members.sum(1) > 1
            members = members[ranked]
            objects = len(boxes) if self.sorted else len(members)
            count += objects > 0
            if len(members):
                used = members.any(0)
                column = torch.zeros_like(classes) if self.width == 1 else classes
                scores = [each[image, used][:, column[ranked]].T for each in (seen, wanted)]
                images.append(divergence(*scores, members[:, used]).sum() / objects)
        return {"rank": sum_of_images(images, seen) / count_per_process(seen.new_tensor(count))}
