"""The `pfi` method: FPN cells weighted by how much the predictions differ."""

from torch import Tensor, linalg, stack, where, zeros_like

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import (
    box_mask,
    check_same_heads,
    crop_to_common,
    on_shared_levels,
)
from graphkd.distill.losses.levels import LevelPair, level_adapters, level_pairs
from graphkd.distill.losses.options import need_anchors, need_same_classes, one_of
from graphkd.distill.outputs import Outputs, Targets


def guided_error(
    pair: LevelPair,
    student_scores: Tensor,
    teacher_scores: Tensor,
    *,
    divisor: str,
    mask: Tensor | None = None,
) -> Tensor:
    """Euclidean norm over the cells of squared score gap times squared feature gap.

    Args:
        pair: one level, (N, C, h, w).
        student_scores: (N, S, h, w) probabilities.
        teacher_scores: (N, S, h, w).
        divisor: of the norm: `cells` for their number, `root` for the root of it.
        mask: (N, h, w) bool, the cells that count; None for all.

    Returns:
        A scalar, the mean over images.
    """
    features = (pair.student - pair.teacher).square().mean(1)
    scores = (student_scores - teacher_scores).square().mean(1)
    product = (features * scores).flatten(1)
    if mask is None:
        count = product.new_tensor(product.shape[1])
    else:
        product = where(mask.flatten(1), product, zeros_like(product))
        count = mask.flatten(1).sum(1).clamp(min=1)
    divided = linalg.vector_norm(product, dim=1) / (count if divisor == "cells" else count.sqrt())
    return divided.mean()


@register("pfi")
class PFI(DistillLoss):
    """Prediction-guided squared error of a level, summed over levels.

    The predictions are the RPN's objectness for two-stage detectors and the class scores for
    one-stage detectors; the gradient reaches the student's features and its predictions.

    Source: Li et al., Knowledge Distillation for Object Detection via Rank Mimicking and
    Prediction-guided Feature Imitation, section 3.3.
    """

    needs = frozenset({"features", "dense"})

    def __init__(self, context: LossContext, *, divisor: str = "cells", mask: str = "none"):
        """Makes the adapters.

        Args:
            context: facts about the pair.
            divisor: of the norm over the cells of a level: cells for their number (the paper; the
                term falls with the root of a level's area), root for the root of their number
                (ours; the area does not change the term).
            mask: none for all cells (the paper), objects for those that a box touches (a script of
                OCRdistill).
        """
        super().__init__()
        self.divisor = one_of("divisor", divisor, ("cells", "root"))
        self.masked = one_of("mask", mask, ("none", "objects")) == "objects"
        if self.masked:
            self.reads = frozenset({"boxes"})
        need_anchors(context)
        if not context.two_stage:
            need_same_classes(context, remedy="remove it or train the teacher on the same classes")
        self.adapters = level_adapters(context)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `features`."""
        heads = on_shared_levels(student.dense, teacher.dense)
        check_same_heads(*(head.logits for head in heads))
        terms = []
        for pair in level_pairs(student, teacher, targets, adapters=self.adapters):
            scores = crop_to_common(
                _scores(student, pair.name), _scores(teacher, pair.name).detach()
            )
            mask = box_mask(targets.boxes, pair.stride, pair.size) if self.masked else None
            terms.append(guided_error(pair, *scores, divisor=self.divisor, mask=mask))
        return {"features": stack(terms).sum()}


def _scores(outputs: Outputs, level: str) -> Tensor:
    """Probabilities of one level (N, S, H, W); the dense head reads all levels in order."""
    index = list(outputs.features).index(level)
    return outputs.dense.logits[index].float().sigmoid()
