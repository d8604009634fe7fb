"""The base class of distillation losses, and the facts about a pair of models that they get."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from torch import Tensor, nn

from graphkd.distill.outputs import Outputs, Targets

# Parts of `Outputs` a loss may need; the two about regions are parts of `Outputs.regions`.
NEEDS = (
    "features",
    "stages",
    "dense",
    "region_features",
    "region_predictions",
    "maps",
    "frames",
    "steps",
)
# Parts of `Targets` a loss may read.
READS = ("boxes", "anchors", "assignment", "maps", "texts")


@dataclass(frozen=True)
class LossContext:
    """Facts about student and teacher that a loss may need when it is built.

    Facts that a task has not are None; without a teacher, or with one that is a foreign file, the
    student's own stand in its place.

    Attributes:
        channels: name of a level or stage (`fused` for a fused map) -> (student, teacher) width,
            for all that both have.
        strides: the same names -> (student, teacher) input pixels per cell.
        levels: FPN level names that both have, fine to coarse; empty for a task without a pyramid.
        num_classes: K of the student.
        same_classes: whether teacher and student have the same class list in the same order.
        text_classes: ids of the classes that are text; None where the data set does not say.
        two_stage: whether both have a box head on RoI features; None for no detector.
        shared_regions: whether both pool region features of the same height and width.
        same_anchors: whether both place the same anchors on the levels they share.
        same_box_codes: whether box deltas mean the same in both heads.
        bins: (student, teacher) largest bin of the box edges' distributions; None where one of them
            has none.
    """

    channels: dict[str, tuple[int, int]] = field(default_factory=dict)
    strides: dict[str, tuple[int, int]] = field(default_factory=dict)
    levels: tuple[str, ...] = ()
    num_classes: int = 0
    same_classes: bool = True
    text_classes: tuple[int, ...] | None = None
    two_stage: bool | None = None
    shared_regions: bool | None = None
    same_anchors: bool | None = None
    same_box_codes: bool | None = None
    bins: tuple[int, int] | None = None

    def width(self) -> tuple[int, int]:
        """(student, teacher) channels of the shared levels.

        Raises:
            ValueError: there are no levels, or a network's levels differ in width.
        """
        widths = {self.channels[level] for level in self.levels}
        if len(widths) != 1:
            found = ", ".join(f"{level} {self.channels[level]}" for level in self.levels)
            raise ValueError(f"needs FPN levels of one width, found {found or 'none'}")
        return widths.pop()


class DistillLoss(nn.Module, ABC):
    """One distillation method: outputs of both networks in, named loss terms out.

    A subclass is registered with `LOSSES`, takes `context` and then keyword-only options without
    `**kwargs` (its yaml keys in lower case), and may own trainable adapters or auxiliary heads,
    which are saved beside the student, never in it.

    Attributes:
        needs: which parts of `Outputs` it reads, out of `NEEDS`; nothing else is computed for it.
            An instance may narrow its class' needs to those of its options.
        reads: which parts of `Targets` it reads, out of `READS`.
        needs_teacher: False for self-distillation, which is called with `teacher=None`.
        needs_peers: True for a loss that is called once for every ordered pair of peers; the other
            student's detached outputs take the teacher's place.
        needs_same_classes: whether class lists must agree; checked when the loss is built.
        log: detached scalars of the last step for the run's log; a method without any has none.
    """

    needs: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    needs_teacher: bool = True
    needs_peers: bool = False
    needs_same_classes: bool = False

    @abstractmethod
    def forward(
        self, student: Outputs, teacher: Outputs | None, targets: Targets
    ) -> dict[str, Tensor]:
        """Returns named scalar terms, float32 and finite; 0 with a gradient path where nothing
        applies.

        Terms are averaged over the items of the batch of all processes, so they do not depend on
        batch size. Detached scalars for the log go into `self.log`, a dict of plain tensors.
        """
