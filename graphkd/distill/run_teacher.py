"""The teacher that a run's config names: its kind, config, weights, and building it."""

from pathlib import Path

from detectron2.config import CfgNode
from torch import nn

from graphkd.checkpoint import load_weights
from graphkd.config import find_config, load_cfg
from graphkd.distill.losses.build import needs_teacher
from graphkd.distill.teacher import AverageTeacher, FrozenTeacher, Teacher
from graphkd.errors import COMMAND, UserError
from graphkd.modeling.network import compile_body
from graphkd.tasks.base import task_of


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
