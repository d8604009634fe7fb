"""The `pfi` method: FPN cells weighted by how much the predictions differ; no ground truth."""

from torch import Tensor, linalg, stack

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.maps import LevelPair, crop_to_common, level_adapters, level_pairs
from graphkd.distill.losses.options import need_same_anchors, need_same_classes
from graphkd.distill.losses.register import register
from graphkd.distill.outputs import Outputs, Targets
from graphkd.errors import UserError


def guided_error(pair: LevelPair, student_scores: Tensor, teacher_scores: Tensor) -> Tensor:
    """Root mean square over cells of squared score gap times squared feature gap.

    Args:
        pair: one level, (N, C, h, w).
        student_scores: (N, S, h, w) probabilities.
        teacher_scores: (N, S, h, w).

    Returns:
        A scalar, the mean over images.
    """
    features = (pair.student - pair.teacher).square().mean(1)
    scores = (student_scores - teacher_scores).square().mean(1)
    product = (features * scores).flatten(1)
    return (linalg.vector_norm(product, dim=1) / product.shape[1] ** 0.5).mean()


@register("pfi")
class PFI(DistillLoss):
    """Prediction-guided squared error of a level, summed over levels.

    The predictions are the RPN's objectness for two-stage detectors and the class scores for
    one-stage detectors; the gradient reaches the student's features and its predictions.

    Source: Li et al., Knowledge Distillation for Object Detection via Rank Mimicking and
    Prediction-guided Feature Imitation, section 3.3.
    Differs from the paper: the norm over the cells of a level is divided by the root of their count
    in place of their count, so the area of a level does not change the term.
    """

    needs = frozenset({"features", "dense"})

    def __init__(self, context: LossContext, *, kernel: int = 1):
        """Makes the adapters.

        Args:
            context: facts about the pair.
            kernel: 1 or 3, width of the convolution from student to teacher channels.
        """
        super().__init__()
        need_same_anchors(context)
        if not context.two_stage:
            need_same_classes(context, remedy="remove it or train the teacher on the same classes")
        self.adapters = level_adapters(context, kernel=kernel)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `features`."""
        terms = []
        for pair in level_pairs(student, teacher, targets, adapters=self.adapters):
            seen, wanted = crop_to_common(
                _scores(student, pair.name), _scores(teacher, pair.name).detach()
            )
            if seen.shape != wanted.shape:
                raise UserError(
                    f"the dense heads of student and teacher give {seen.shape[1]} and "
                    f"{wanted.shape[1]} scores a cell; give both the same anchors"
                )
            terms.append(guided_error(pair, seen, wanted))
        return {"features": stack(terms).sum()}


def _scores(outputs: Outputs, level: str) -> Tensor:
    """Probabilities of one level (N, S, H, W); the dense head reads all levels in order."""
    index = list(outputs.features).index(level)
    return outputs.dense.logits[index].float().sigmoid()
