"""The `bckd` method: class scores as binary labels, and boxes by their GIoU."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from graphkd.distill.comm import count_per_process
from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.dense_cells import all_anchors, read_assignment, shared_cells
from graphkd.distill.losses.options import need_anchors, need_dense_head, number
from graphkd.distill.outputs import Dense, Outputs, Targets
from graphkd.errors import UserError


def binary_terms(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """How far class scores are apart, and the cross-entropy weighted by it.

    Args:
        student: (..., K) class logits.
        teacher: (..., K), taken as a constant.

    Returns:
        |p_T - p_S| in 0..1 and |p_T - p_S| BCE(p_S, p_T), both (..., K) float32. The gradient goes
        through both factors.
    """
    student, wanted = student.float(), teacher.detach().float().sigmoid()
    gap = (wanted - student.sigmoid()).abs()
    return gap, gap * F.binary_cross_entropy_with_logits(student, wanted, reduction="none")


def decoded(dense: Dense, deltas: Tensor, anchors: Tensor) -> Tensor:
    """Boxes (R, 4) of deltas (R, 4).

    Raises:
        UserError: the head does not say how.
    """
    if dense.decode is None:
        raise UserError("compares decoded boxes, but a dense head does not say how to decode them")
    return dense.decode(deltas, anchors)


@register("bckd")
class BinaryClassDistillation(DistillLoss):
    """Class scores and boxes on all valid anchors, where the networks disagree most.

    Source: Yang et al., Bridging Cross-task Protocol Inconsistency for Distillation in Dense Object
    Detection (ICCV 2023), as released for GFL.
    Differs from the code: levels without a positive count too, and the divisor is at least 1.
    """

    needs = frozenset({"dense"})
    reads = frozenset({"anchors", "assignment"})
    needs_same_classes = True

    def __init__(self, context: LossContext, *, classes: float = 1.0, boxes: float = 4.0):
        """Takes the options.

        Args:
            context: facts about the pair.
            classes: factor of the class term.
            boxes: factor of the box term.
        """
        super().__init__()
        need_dense_head(context)
        need_anchors(context)
        self.num_classes = context.num_classes
        self.classes, self.boxes = number("classes", classes), number("boxes", boxes)
        if not self.classes and not self.boxes:
            raise ValueError("CLASSES and BOXES must not both be 0")

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `classes` and `boxes`, without those whose factor is 0."""
        own, other = student.dense, teacher.dense
        cells = shared_cells(own, other)
        assignment = read_assignment(targets)
        valid = torch.stack(assignment.valid)[:, cells.index]
        positives = (torch.stack(assignment.owners)[:, cells.index] >= 0).sum()
        divisor = count_per_process(positives)
        rows = cells.rows(own.logits, other.logits, widths=(self.num_classes,) * 2)
        gap, entropy = binary_terms(*(each[valid] for each in rows))
        terms = {}
        if self.classes:
            terms["classes"] = self.classes * entropy.sum() / divisor
        if self.boxes:
            deltas = cells.rows(own.deltas, other.deltas, widths=(4, 4))
            anchors = all_anchors(targets)[cells.index].expand(len(valid), -1, -1)[valid]
            seen = decoded(own, deltas[0][valid], anchors)
            wanted = decoded(other, deltas[1][valid], anchors)
            error = generalized_box_iou_loss(seen, wanted, reduction="none")
            terms["boxes"] = self.boxes * (gap.detach().amax(1) * error).sum() / divisor
        return terms
