"""The `rank_mimicking` method: how the anchors of one object rank; no features and no boxes."""

import torch
from detectron2.structures import Boxes, pairwise_iou
from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.comm import count_per_process
from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.maps import anchor_grids, dense_pair
from graphkd.distill.losses.options import fraction, need_same_anchors, need_same_classes
from graphkd.distill.losses.reduce import sum_of_images
from graphkd.distill.losses.register import register
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
    best, owner = pairwise_iou(Boxes(boxes), Boxes(anchors)).max(0)
    objects = torch.arange(len(boxes), device=boxes.device)
    return (owner == objects[:, None]) & (best >= overlap)


def rank_divergence(student_scores: Tensor, teacher_scores: Tensor, members: Tensor) -> Tensor:
    """KL(teacher || student) of the softmax over the anchors of every object.

    Args:
        student_scores: (G, n) float32 logits of the object's class.
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


@register("rank_mimicking")
class RankMimicking(DistillLoss):
    """Divergence of the anchors' ranking, a mean over the objects of an image.

    Two-stage detectors are compared by the RPN's objectness, one-stage detectors by the score of
    the object's class. Objects with fewer than two positive anchors have no ranking and leave the
    mean.

    Source: Li et al., Knowledge Distillation for Object Detection via Rank Mimicking and
    Prediction-guided Feature Imitation, section 3.2.
    Differs from the paper: positives come from the overlap with the anchors in place of the head's
    own assignment; every image weighs the same.
    """

    needs = frozenset({"dense"})

    def __init__(self, context: LossContext, *, overlap: float = 0.5):
        """Takes the options.

        Args:
            context: facts about the pair.
            overlap: IoU from which an anchor is a positive of an object, 0..1.
        """
        super().__init__()
        need_same_anchors(context)
        if not context.two_stage:
            need_same_classes(context, remedy="remove it or train the teacher on the same classes")
        self.width = 1 if context.two_stage else context.num_classes
        self.overlap = fraction("overlap", overlap)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `rank`."""
        maps = student.dense.logits, teacher.dense.logits
        seen, wanted = dense_pair(*maps, width=self.width)
        grids = anchor_grids(targets, [tuple(each.shape[-2:]) for each in maps[0]])
        shared = [
            grid[: each.shape[-2], : each.shape[-1]]
            for grid, each in zip(grids, maps[1], strict=True)
        ]
        anchors = torch.cat([grid.reshape(-1, 4) for grid in shared])
        images = []
        for image, (boxes, classes) in enumerate(zip(targets.boxes, targets.classes, strict=True)):
            members = positive_anchors(boxes, anchors, overlap=self.overlap)
            ranked = members.sum(1) > 1
            members = members[ranked]
            if len(members):
                used = members.any(0)
                column = torch.zeros_like(classes) if self.width == 1 else classes
                scores = [each[image, used][:, column[ranked]].T for each in (seen, wanted)]
                images.append(rank_divergence(*scores, members[:, used]).mean())
        count = count_per_process(seen.new_tensor(len(images)))
        return {"rank": sum_of_images(images, seen) / count}
