"""Teachers: a frozen model, a foreign ONNX file, or a running average of the student.

A teacher is a plain object and not a module, so that it is in no state dict, optimizer or
checkpoint of the student.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from graphkd.checkpoint import load_weights
from graphkd.config import find_config, load_cfg
from graphkd.distill.average import RunningAverage
from graphkd.distill.losses.build import needs_teacher
from graphkd.distill.outputs import Outputs
from graphkd.errors import COMMAND, UserError
from graphkd.modeling.network import compile_body
from graphkd.tasks.base import task_of
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


def load_teacher_cfg(cfg: CfgNode, *, source: Path) -> CfgNode:
    """The teacher's own complete config, on the device of the run.

    Args:
        cfg: the run's config; reads DISTILL.TEACHER.CONFIG and MODEL.DEVICE.
        source: the run's yaml file; the path of the teacher's yaml may be relative to it.

    Raises:
        UserError: the run names no teacher, or the teacher's yaml is missing or wrong.
    """
    if not cfg.DISTILL.TEACHER.CONFIG:
        raise UserError(f"{source}: DISTILL.TEACHER.CONFIG names no teacher yaml")
    path = find_config(cfg.DISTILL.TEACHER.CONFIG, near=source)
    data = ["DATASETS.NAME", cfg.DATASETS.NAME]
    return load_cfg(path, [*data, "MODEL.DEVICE", cfg.MODEL.DEVICE])


def drop_unread_teacher(cfg: CfgNode) -> None:
    """Removes the teacher from the config of a run whose losses need none, so that it is neither
    trained nor loaded; a pair's yaml names one for all methods.
    """
    if cfg.DISTILL.LOSSES and not needs_teacher(cfg.DISTILL.LOSSES):
        cfg.DISTILL.TEACHER.CONFIG = cfg.DISTILL.TEACHER.ONNX = cfg.DISTILL.TEACHER.WEIGHTS = ""
        cfg.DISTILL.TEACHER.EMA = False


def teacher_weights(cfg: CfgNode, teacher_cfg: CfgNode) -> Path:
    """Path of the teacher's weights, whether it is trained yet or not."""
    return Path(cfg.DISTILL.TEACHER.WEIGHTS or Path(teacher_cfg.OUTPUT_DIR) / "model_final.pth")


def require_weights(cfg: CfgNode, teacher_cfg: CfgNode, *, source: Path) -> Path:
    """The path of the teacher's weights, which must exist.

    Raises:
        UserError: the file is missing; the message names the command that makes it.
    """
    weights = teacher_weights(cfg, teacher_cfg)
    if not weights.is_file():
        data = f" --data {cfg.DATASETS.NAME}" if cfg.DATASETS.NAME else ""
        raise UserError(
            f"{source}: the teacher has no weights yet ({weights}); train it with "
            f"`{COMMAND} train {cfg.DISTILL.TEACHER.CONFIG}{data}` or add --with-teacher"
        )
    return weights


def teacher_file(cfg: CfgNode, *, source: Path) -> Path | None:
    """The file with the weights of a run's teacher; None if there is no such file to read.

    Raises:
        UserError: the file is missing, or more than one kind of teacher is configured.
    """
    kind = teacher_kind(cfg, source=source)
    if kind == "CONFIG":
        return require_weights(cfg, load_teacher_cfg(cfg, source=source), source=source)
    if kind != "ONNX":
        return None
    from graphkd.distill.onnx_file import find_onnx

    return find_onnx(cfg.DISTILL.TEACHER.ONNX)


def teacher_kind(cfg: CfgNode, *, source: Path) -> str:
    """The kind of a run's teacher: "CONFIG", "ONNX", "EMA", or "" without a teacher.

    Raises:
        UserError: more than one is configured.
    """
    node = cfg.DISTILL.TEACHER
    kinds = [name for name in ("CONFIG", "ONNX", "EMA") if node[name]]
    if len(kinds) > 1:
        raise UserError(f"{source}: DISTILL.TEACHER has {' and '.join(kinds)}; keep one of them")
    return kinds[0] if kinds else ""


def build_teacher(
    cfg: CfgNode, student: nn.Module, *, source: Path, trained: bool = True
) -> Teacher | None:
    """Builds the teacher of a run; None if no teacher is configured.

    Args:
        cfg: the run's config.
        student: the built student.
        source: the run's yaml file, for paths and error messages.
        trained: False builds a frozen model with random weights, for checks before it is trained.

    Raises:
        UserError: the weights are missing, do not fit the model or have another class list, or the
            ONNX file cannot be used.
    """
    kind = teacher_kind(cfg, source=source)
    if kind == "CONFIG":
        return _frozen(cfg, source=source, trained=trained)
    if kind == "ONNX":
        from graphkd.distill.onnx_teacher import onnx_teacher

        return onnx_teacher(cfg, student, source=source)
    if kind == "EMA":
        decay = cfg.DISTILL.TEACHER.EMA_DECAY
        return AverageTeacher(student, decay=decay, view_of=task_of(cfg).view)
    return None


def _frozen(cfg: CfgNode, *, source: Path, trained: bool) -> FrozenTeacher:
    teacher_cfg = load_teacher_cfg(cfg, source=source)
    task = task_of(teacher_cfg)
    teacher_source = find_config(cfg.DISTILL.TEACHER.CONFIG, near=source)
    # The teacher's classes are checked against its training data only. Its validation and test sets
    # may have been deleted or changed since.
    trained_on = teacher_cfg.clone()
    trained_on.DATASETS.VAL, trained_on.DATASETS.TEST = (), trained_on.DATASETS.TRAIN
    classes = task.classes(trained_on, source=teacher_source)
    weights = require_weights(cfg, teacher_cfg, source=source) if trained else None
    model = task.build_model(teacher_cfg)
    teacher = FrozenTeacher(
        task.view(model),
        classes,
        input_format=teacher_cfg.INPUT.FORMAT,
        student_format=cfg.INPUT.FORMAT,
    )
    if weights is not None:
        load_weights(model, weights, classes=classes, trust=cfg.TRUST_PICKLES)
    if trained and cfg.DISTILL.TEACHER.COMPILE:
        compile_body(model)
    return teacher
