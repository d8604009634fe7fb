"""From a checked config to a student, and to the Distiller around it; no training loop."""

import logging
from pathlib import Path

from detectron2.config import CfgNode
from torch import nn

from graphkd.checkpoint import load_initial, load_weights
from graphkd.data.catalog import dataset_classes, text_classes
from graphkd.distill.distiller import Distiller
from graphkd.distill.losses.base import LossContext
from graphkd.distill.losses.build import ScheduledLoss, build_losses
from graphkd.distill.teacher import FrozenTeacher, build_teacher, build_untrained_teacher
from graphkd.engine.rng import preserved_rng
from graphkd.errors import UserError
from graphkd.modeling.network import build_network, model_classes
from graphkd.views import view_of
from graphkd.views.view import View

logger = logging.getLogger(__name__)


def check_classes(cfg: CfgNode, *, source: Path) -> tuple[str, ...]:
    """Class names of the run's data sets, checked against each other and against the model.

    Raises:
        UserError: train, val and test sets disagree, or the model has another number of classes.
    """
    for key in ("TRAIN", "TEST"):
        if not cfg.DATASETS[key]:
            raise UserError(f"{source}: DATASETS.{key} is empty; name a data set")
    names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.VAL, *cfg.DATASETS.TEST]
    classes = dataset_classes(names)
    if model_classes(cfg) != len(classes):
        raise UserError(
            f"{source}: the model has {model_classes(cfg)} classes, the data set {names[0]} has "
            f"{len(classes)} ({', '.join(classes)}); set NUM_CLASSES to {len(classes)}"
        )
    return classes


def build_student(cfg: CfgNode) -> nn.Module:
    """The student as plain Detectron2 builds it, on cfg.MODEL.DEVICE, with MODEL.WEIGHTS if they
    are named.

    A backbone's ImageNet weights leave the heads as they are, so these weights are not loaded
    strictly; Detectron2 logs what it skips.
    """
    student = build_network(cfg)
    if cfg.MODEL.WEIGHTS:
        try:
            load_initial(student, cfg.MODEL.WEIGHTS, trust=cfg.TRUST_PICKLES)
        except UserError as error:
            raise UserError(f"MODEL.WEIGHTS: {error}") from error
    return student


def build_trained(cfg: CfgNode, weights: Path | str, *, classes: tuple[str, ...]) -> nn.Module:
    """The model of `cfg` filled completely from `weights`, in eval mode."""
    model = build_network(cfg)
    load_weights(model, weights, classes=classes, trust=cfg.TRUST_PICKLES)
    return model.eval()


def loss_context(
    view: View, teacher: FrozenTeacher, classes: tuple[str, ...], text: tuple[str, ...] | None
) -> LossContext:
    """Facts about the pair for the losses.

    Args:
        view: the student's view.
        teacher: the frozen teacher.
        classes: class names of the student's data.
        text: which of them are text; None where the data set does not say.

    Raises:
        UserError: the two detectors share no FPN level.
    """
    shared = tuple(level for level in view.levels if level in teacher.view.levels)
    if not shared:
        raise UserError(
            f"student levels {', '.join(view.levels)} and teacher levels "
            f"{', '.join(teacher.view.levels)} have none in common"
        )
    # Heads of unlike families are never compared; `check_needs` says so.
    unlike = view.two_stage != teacher.view.two_stage
    other = teacher.view
    return LossContext(
        channels={name: (view.channels[name], other.channels[name]) for name in shared},
        strides={name: (view.strides[name], other.strides[name]) for name in shared},
        levels=shared,
        num_classes=view.num_classes,
        same_classes=classes == teacher.classes,
        text_classes=None if text is None else tuple(classes.index(name) for name in text),
        two_stage=view.two_stage and teacher.view.two_stage,
        shared_regions=view.region_size == teacher.view.region_size,
        same_anchors=unlike or all(view.anchors[name] == other.anchors[name] for name in shared),
        same_box_codes=unlike or view.box_codes == teacher.view.box_codes,
    )


def check_needs(
    losses: dict[str, ScheduledLoss], view: View, teacher: FrozenTeacher, *, source: Path
) -> None:
    """Checks that the pair can be compared in what the losses read.

    Raises:
        UserError: heads or regions are compared with a teacher of another family.
    """
    for key, loss in losses.items():
        needs = loss.module.needs
        if view.two_stage != teacher.view.two_stage and needs - {"features"}:
            raise UserError(
                f"{source}: DISTILL.LOSSES.{key} compares regions or head outputs, but one "
                "detector is two-stage and the other one-stage; remove it (feature methods such "
                "as fitnets, pkd and fgd work) or choose a teacher of the student's family"
            )


def build_distiller(cfg: CfgNode, student: nn.Module, *, source: Path) -> Distiller:
    """Wraps `student` with the teacher and the losses of the config; random state is left as it
    was.

    Raises:
        UserError: anything about the teacher, the classes or the losses that does not fit.
    """
    with preserved_rng():
        return _join(cfg, student, build_teacher(cfg, source=source), source=source)


def build_models(cfg: CfgNode, *, source: Path) -> tuple[nn.Module, nn.Module]:
    """The student of a run, and what is trained: the Distiller around it, or the student itself
    where DISTILL.LOSSES is empty.

    Raises:
        UserError: as `build_student` and `build_distiller`.
    """
    student = build_student(cfg)
    if not cfg.DISTILL.LOSSES:
        return student, student
    return student, build_distiller(cfg, student, source=source)


def check_pair(cfg: CfgNode, *, source: Path) -> None:
    """Puts student, losses and the teacher together before the teacher is trained, so that a
    mistake shows before that; random state is left as it was.

    Raises:
        UserError: what `build_distiller` refuses, but for the teacher's weights.
    """
    with preserved_rng():
        teacher = build_untrained_teacher(cfg, source=source)
        _join(cfg, build_student(cfg), teacher, source=source)


def _join(cfg: CfgNode, student: nn.Module, teacher: FrozenTeacher, *, source: Path) -> Distiller:
    classes = check_classes(cfg, source=source)
    view = view_of(student)
    context = loss_context(view, teacher, classes, text_classes(cfg.DATASETS.TRAIN[0]))
    losses = build_losses(cfg.DISTILL.LOSSES, context, source=str(source), ramp=cfg.DISTILL.RAMP)
    check_needs(losses, view, teacher, source=source)
    distiller = Distiller(student, view, teacher, losses)
    distiller.losses.to(student.device)
    return distiller
