"""The `logits` and `proposals` methods: what the head says about regions, anchors or pixels, and
what the RPN says about anchors.
"""

from torch import Tensor

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import (
    bernoulli_kl,
    deltas_of_class,
    dense_pair,
    mean_over_images,
    on_shared_levels,
    softened_kl,
)
from graphkd.distill.losses.maps import labels_at, masked_mean, text_pair
from graphkd.distill.losses.options import (
    need_anchors,
    need_same_box_codes,
    need_two_stage,
    number,
    switch,
)
from graphkd.distill.outputs import Dense, Outputs, Regions, Targets


def region_terms(
    student: Regions, teacher: Regions, targets: Targets, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """Class and box disagreement on the sampled regions.

    Returns:
        T^2 KL, a mean over the regions of an image and then over images; and the mean absolute
        difference of the labelled class's deltas over foreground regions, reduced the same way.
        Images without such regions leave the mean; both are 0 where no image has any.
    """
    divergence = softened_kl(student.logits, teacher.logits, temperature=temperature)
    student_deltas = deltas_of_class(student.deltas, targets.region_labels).float()
    teacher_deltas = deltas_of_class(teacher.deltas.detach(), targets.region_labels).float()
    foreground = targets.region_labels < targets.num_classes
    distance = (student_deltas - teacher_deltas).abs().mean(1)
    return (
        mean_over_images(divergence, student.counts),
        mean_over_images(distance, student.counts, where=foreground),
    )


def dense_terms(
    student: Dense, teacher: Dense, *, num_classes: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """Class and box disagreement on all anchors, each weighted by the teacher's best class score.

    The weights make anchors on objects count, and their sum (at least 1) is the divisor, so
    thousands of empty anchors neither drown the term nor make it grow with the area of a level.

    Returns:
        T^2 KL of the sigmoid scores, summed over classes; and the mean absolute difference of the
        deltas; both weighted means over the anchors of an image, then means over images.
    """
    student, teacher = on_shared_levels(student, teacher)
    student_scores, teacher_scores = dense_pair(student.logits, teacher.logits, width=num_classes)
    student_deltas, teacher_deltas = dense_pair(student.deltas, teacher.deltas, width=4)
    weights = teacher_scores.sigmoid().amax(2)
    divisor = weights.sum(1).clamp(min=1)
    divergence = bernoulli_kl(student_scores, teacher_scores, temperature=temperature).sum(2)
    distance = (student_deltas - teacher_deltas).abs().mean(2)
    return (
        ((weights * divergence).sum(1) / divisor).mean(),
        ((weights * distance).sum(1) / divisor).mean(),
    )


@register("logits")
class Logits(DistillLoss):
    """Softened class scores and box deltas of the head.

    Two-stage detectors are compared on the student's own sampled regions, one-stage detectors on
    all anchors of the dense head, text detectors on all pixels of the text map.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network, section 2; Chen et al.,
    Learning Efficient Object Detection Models with Knowledge Distillation, section 3.
    Differs from the paper: boxes imitate the teacher by an L1 distance, without the bound of Chen
    et al. that compares both with the ground truth; every image weighs the same.
    """

    needs = frozenset({"region_predictions"})
    needs_same_classes = True

    def __init__(
        self,
        context: LossContext,
        *,
        temperature: float = 1.0,
        regression_weight: float = 1.0,
        balanced: bool = False,
    ):
        """Takes the options.

        Args:
            context: facts about the pair.
            temperature: T of the softened scores.
            regression_weight: factor of the box term beside the class term; not read for maps.
            balanced: for maps, whether text and background weigh one half each.
        """
        super().__init__()
        self.temperature = number("temperature", temperature, positive=True)
        self.regression_weight = number("regression_weight", regression_weight)
        self.balanced = switch("balanced", balanced)
        self.two_stage = context.two_stage
        if context.two_stage is None:
            if "text" not in context.maps:
                raise ValueError("compares class scores, so it needs a detector or a text map")
            self.needs, self.reads = frozenset({"maps"}), frozenset({"maps"})
            return
        self.needs = frozenset({"region_predictions" if context.two_stage else "dense"})
        if self.regression_weight > 0:
            need_same_box_codes(context, remedy="set REGRESSION_WEIGHT to 0")
        if not context.two_stage:
            need_anchors(context)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `classes` and `boxes`, or `text` for maps."""
        if "maps" in self.needs:
            return {"text": self._text_term(*text_pair(student, teacher, targets), targets)}
        if self.two_stage:
            classes, boxes = region_terms(
                student.regions, teacher.regions, targets, temperature=self.temperature
            )
        else:
            classes, boxes = dense_terms(
                student.dense,
                teacher.dense,
                num_classes=targets.num_classes,
                temperature=self.temperature,
            )
        return {"classes": classes, "boxes": self.regression_weight * boxes}

    def _text_term(
        self, student: Tensor, teacher: Tensor, mask: Tensor, targets: Targets
    ) -> Tensor:
        """T^2 KL of the text maps, a mean over the mask."""
        divergence = bernoulli_kl(student, teacher, temperature=self.temperature)
        if not self.balanced:
            return masked_mean(divergence, mask)
        text = labels_at(targets, mask.shape[-2:])[0]
        halves = masked_mean(divergence, mask * text), masked_mean(divergence, mask * (1 - text))
        return 0.5 * sum(halves)


@register("proposals")
class Proposals(DistillLoss):
    """Softened objectness and box deltas of all anchors of the RPN, by `dense_terms`.

    Source: Chen et al., section 3, for the idea to teach the RPN as well as the head.
    Differs from the paper as `logits` does: soft labels are weighted by the teacher's objectness,
    and boxes imitate the teacher.
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
