"""What every distillation loss is; no loss of any method here."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from graphkd.distill.outputs import Outputs, Targets

NEEDS = ("features", "dense", "region_features", "region_predictions")


@dataclass(frozen=True)
class LossContext:
    """Facts about the pair that a loss may need when it is built.

    Attributes:
        student_channels: width of the student's FPN levels.
        teacher_channels: width of the teacher's FPN levels.
        levels: FPN level names both have, fine to coarse.
        num_classes: K of the student.
        same_classes: whether teacher and student have the same class list in the same order.
        text_classes: contiguous ids of the classes that are text; None where the data set does not
            say.
        two_stage: whether student and teacher have a box head on RoI features.
        shared_regions: whether both detectors pool region features of the same height and width.
        same_anchors: whether both place the same anchors on the levels they share.
        same_box_codes: whether box deltas mean the same in both heads.
    """

    student_channels: int
    teacher_channels: int
    levels: tuple[str, ...]
    num_classes: int
    same_classes: bool
    text_classes: tuple[int, ...] | None
    two_stage: bool = True
    shared_regions: bool = True
    same_anchors: bool = True
    same_box_codes: bool = True


class DistillLoss(nn.Module, ABC):
    """One distillation method: tensors of both networks in, named loss terms out.

    A subclass is registered with `LOSSES`, takes `context` and then keyword-only options without
    `**kwargs` (its yaml keys in lower case), and may own trainable adapters, which are saved beside
    the student, never in it.

    Attributes:
        needs: which parts of `Outputs` it reads, out of `NEEDS`; nothing else is computed for it.
            An instance may narrow its class' needs to those of its options.
        log: detached scalars of the last step for the run's log; a method without any has none.
        needs_same_classes: whether class lists must agree; checked when the loss is built.
    """

    needs: frozenset[str] = frozenset()
    needs_same_classes: bool = False

    @abstractmethod
    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns named scalar terms, float32 and finite; 0 with a gradient path where nothing
        applies.

        Terms are averaged over the images of the batch, so they do not depend on batch size.
        Detached scalars for the log (not summed into the loss) go into `self.log`, a dict of plain
        tensors.
        """
