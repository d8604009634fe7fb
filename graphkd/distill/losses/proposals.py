"""The `proposals` method: what the RPN says about anchors."""

from torch import Tensor

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.logits import dense_terms
from graphkd.distill.losses.options import need_anchors, need_two_stage, number
from graphkd.distill.outputs import Outputs, Targets


@register("proposals")
class Proposals(DistillLoss):
    """Softened objectness and box deltas of all anchors.

    Anchors count by the teacher's objectness, as anchors of a one-stage head do in `logits`.

    Source: Chen et al., Learning Efficient Object Detection Models with Knowledge Distillation,
    section 3, for the idea to teach the RPN as well as the head.
    Differs from the paper: soft labels are weighted by the teacher's objectness, and boxes imitate
    the teacher by an L1 distance, without the bound that compares both with the ground truth.
    """

    needs = frozenset({"dense"})

    def __init__(
        self, context: LossContext, *, temperature: float = 1.0, regression_weight: float = 1.0
    ):
        """Takes the options.

        Args:
            context: facts about the pair.
            temperature: T of the softened objectness.
            regression_weight: factor of the box term beside the objectness term.
        """
        super().__init__()
        need_two_stage(context, remedy="one-stage detectors have no RPN; use logits")
        need_anchors(context)
        self.temperature = number("temperature", temperature, positive=True)
        self.regression_weight = number("regression_weight", regression_weight)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `objectness` and `boxes`."""
        objectness, boxes = dense_terms(
            student.dense, teacher.dense, num_classes=1, temperature=self.temperature
        )
        return {"objectness": objectness, "boxes": self.regression_weight * boxes}
