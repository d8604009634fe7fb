"""Teachers: a frozen model, a foreign ONNX file, or a running average of the student.

A teacher is a plain object and not a module, so that it is in no state dict, optimizer or
checkpoint of the student.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from graphkd.distill.average import RunningAverage
from graphkd.distill.outputs import Outputs
from graphkd.views.view import View


class Teacher(ABC):
    """The base class of teachers, which compute their outputs on the student's batches.

    Attributes:
        provides: parts of `Outputs` that it can compute.
        classes: its class names; None if they are those of the student.
        view: the view of its model; None for an ONNX file.
    """

    provides: frozenset[str] = frozenset()
    classes: tuple[str, ...] | None = None
    view: View | None = None

    @abstractmethod
    def observe(
        self, batch: list[dict], boxes: Sequence[Tensor] | None, needs: frozenset[str]
    ) -> Outputs:
        """Computes the teacher's outputs for the student's batch, at the student's boxes.

        Args:
            batch: the student's batch; images (C, H, W).
            boxes: per image (R_i, 4) in pixels of the student's input; None if no loss reads
                regions.
            needs: the parts that the configured losses read; nothing else is computed.
        """

    def prepare(self, items: Sequence[dict], mapper: Callable[..., dict]) -> Callable[..., dict]:
        """Called once before the training.

        Args:
            items: the training items, see `Task.training_dicts`.
            mapper: the student's mapper.

        Returns:
            The mapper of the training: `mapper`, or one that also adds this teacher's answers.
        """
        return mapper

    def after_step(self, student: nn.Module) -> None:
        """Called after every optimizer step."""

    @property
    def state(self) -> RunningAverage | None:
        """The part of the teacher that a checkpoint must hold for a resume; None for a teacher that
        never changes.
        """
        return None


class FrozenTeacher(Teacher):
    """A trained model in eval mode, without gradient.

    Attributes:
        input_format: channel order that its model expects, "BGR", "RGB" or "L".
        student_format: channel order of the student's batches.
    """

    def __init__(
        self,
        view: View,
        classes: tuple[str, ...],
        input_format: str = "BGR",
        student_format: str = "BGR",
    ):
        self.view, self.classes = view, classes
        self.input_format, self.student_format = input_format, student_format
        self.provides = view.provides
        self.model.eval().requires_grad_(False)

    @property
    def model(self) -> nn.Module:
        """The teacher's Detectron2 model."""
        return self.view.model

    @torch.no_grad()
    def observe(
        self, batch: list[dict], boxes: Sequence[Tensor] | None, needs: frozenset[str]
    ) -> Outputs:
        assert not self.model.training, "the teacher was switched to training mode"
        return self.view.observe([self._show(item) for item in batch], boxes, needs)

    def _show(self, item: dict) -> dict:
        """The item as input for the teacher's model, without the ground truth."""
        image = item["image"]
        if self.input_format != self.student_format:
            image = image.flip(0)
        kept = {key: value for key, value in item.items() if key not in ("instances", "targets")}
        return {**kept, "image": image, "height": image.shape[-2], "width": image.shape[-1]}


class AverageTeacher(Teacher):
    """The running average of the student itself (`DISTILL.TEACHER.EMA`)."""

    def __init__(self, student: nn.Module, *, decay: float, view_of):
        self.average = RunningAverage(student, decay=decay)
        self.view = view_of(self.average.model)
        self.provides = self.view.provides

    @torch.no_grad()
    def observe(
        self, batch: list[dict], boxes: Sequence[Tensor] | None, needs: frozenset[str]
    ) -> Outputs:
        return self.view.observe(batch, boxes, needs)

    def after_step(self, student: nn.Module) -> None:
        self.average.update(student)

    @property
    def state(self) -> RunningAverage:
        return self.average
