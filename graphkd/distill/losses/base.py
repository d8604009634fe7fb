"""The base class of distillation losses, and the facts about student and teacher that they
receive.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from graphkd.distill.outputs import Outputs, Targets

# Parts of `Outputs` that a loss may need; region_* are parts of `Outputs.regions`.
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
# Parts of `Targets` that a loss may read.
READS = ("boxes", "anchors", "assignment", "maps", "texts")


@dataclass(frozen=True)
class LossContext:
    """Facts about student and teacher that a loss may need when it is built.

    Facts that do not apply to a task are None. Without a teacher, or with an ONNX teacher, the
    student's facts are used for both.

    Attributes:
        channels: name of a level or stage (`fused` for a fused map) -> (student, teacher) width,
            for all names that both have.
        strides: the same names -> (student, teacher) input pixels per cell.
        levels: FPN level names that both have, fine to coarse; empty for a task without a pyramid.
        num_classes: K of the student.
        same_classes: whether teacher and student have the same class list in the same order.
        text_classes: ids of the text classes; None if the data set does not name them.
        two_stage: whether both have a box head on RoI features; None unless both are detectors.
        shared_regions: whether both pool region features of the same height and width.
        same_anchors: whether both place the same anchors on the levels they share.
        same_box_codes: whether box deltas mean the same in both heads.
        bins: (student, teacher) largest bin of the box edges' distributions; None unless both have
            such distributions.
        maps: name of a per-pixel map -> (student, teacher) input pixels per cell, for the maps that
            both have.
        text_loss: the student's own loss on its text map with its weight in the training: logits
            (N, 1, h, w), labels and training mask of 0 and 1 of the same shape -> a scalar. None
            for a model without a text map.
        sequence: `frames` for a CTC reader, `steps` for one with attention; None for other models.
        encode: text -> class numbers of the student's head, each at least 1; None without a
            charset.
        teacher: the teacher's yaml, for messages; empty where it has none.
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
    maps: dict[str, tuple[int, int]] = field(default_factory=dict)
    text_loss: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    sequence: str | None = None
    encode: Callable[[str], list[int]] | None = None
    teacher: str = ""

    def width(self) -> tuple[int, int]:
        """(student, teacher) channels of the shared levels.

        Raises:
            ValueError: there are no levels, or the levels of a network differ in width.
        """
        widths = {self.channels[level] for level in self.levels}
        if len(widths) != 1:
            found = ", ".join(f"{level} {self.channels[level]}" for level in self.levels)
            raise ValueError(f"needs FPN levels of one width, found {found or 'none'}")
        return widths.pop()


class DistillLoss(nn.Module, ABC):
    """One distillation method: takes the outputs of both networks and returns named loss terms.

    A subclass is registered with `LOSSES`. Its constructor takes `context` and then keyword-only
    options, without `**kwargs`; their names in upper case are its yaml keys. It may have trainable
    adapters or auxiliary heads, which are saved beside the student and never in it.

    Attributes:
        needs: the parts of `Outputs` that it reads, out of `NEEDS`; only these are computed. An
            instance may need fewer parts than its class, depending on its options.
        reads: the parts of `Targets` that it reads, out of `READS`.
        needs_teacher: False for self-distillation, which is called with `teacher=None`.
        needs_peers: True for a loss between peers. It is called once for every ordered pair, with
            the detached outputs of the other student as `teacher`.
        teaches_peers: True for a loss of the teacher that is called for every student, not only
            for the first one. It has no parameters that depend on the student.
        needs_same_classes: whether the class lists must agree; checked when the loss is built.
        log: detached scalars of the last step for the run's log; optional.
    """

    needs: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    needs_teacher: bool = True
    needs_peers: bool = False
    teaches_peers: bool = False
    needs_same_classes: bool = False

    @abstractmethod
    def forward(
        self, student: Outputs, teacher: Outputs | None, targets: Targets
    ) -> dict[str, Tensor]:
        """Returns named scalar terms, float32 and finite. A term without any item is 0 and keeps
        its gradient path.

        Terms are means over the items of the batch of all processes, so they do not depend on the
        batch size. Detached scalars for the log go into `self.log`, a dict of plain tensors.
        """
