"""Builds the student of a config, and the Distiller around it."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from detectron2.config import CfgNode
from torch import nn

from graphkd.checkpoint import load_initial, load_weights
from graphkd.config import find_config, load_cfg
from graphkd.distill.distiller import Distiller
from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import ScheduledLoss, build_losses
from graphkd.distill.run_teacher import build_teacher
from graphkd.distill.teacher import Teacher
from graphkd.engine.state import preserved_rng
from graphkd.errors import UserError
from graphkd.tasks.base import task_of
from graphkd.views.view import View


def build_student(cfg: CfgNode) -> nn.Module:
    """The student on cfg.MODEL.DEVICE, with MODEL.WEIGHTS loaded if they are set.

    The weights need not fill the whole model: ImageNet weights, for example, cover only the
    backbone. Detectron2 logs the keys that it skips.
    """
    task = task_of(cfg)
    student = task.build_model(cfg)
    if cfg.MODEL.WEIGHTS:
        fit = partial(task.fit_weights, cfg, student)
        try:
            load_initial(student, cfg.MODEL.WEIGHTS, trust=cfg.TRUST_PICKLES, fit=fit)
        except UserError as error:
            raise UserError(f"MODEL.WEIGHTS: {error}") from error
    return student


def build_trained(
    cfg: CfgNode, weights: Path | str, *, classes: tuple[str, ...]
) -> tuple[nn.Module, dict]:
    """Builds the model of `cfg` and loads all its weights; returns it in eval mode, and its
    calibration.
    """
    model = task_of(cfg).build_model(cfg)
    stored = load_weights(model, weights, classes=classes, trust=cfg.TRUST_PICKLES)
    return model.eval(), dict(stored.get("calibration") or {})


def build_models(cfg: CfgNode, *, source: Path) -> tuple[nn.Module, nn.Module]:
    """Returns the student of a run and the module to train: the Distiller around the student, or
    the student itself if DISTILL.LOSSES is empty.

    Building the Distiller does not change the random state, so a distilled run and a plain run of
    the same seed draw the same numbers.

    Raises:
        UserError: teacher, classes and losses do not fit together.
    """
    student = build_student(cfg)
    if not cfg.DISTILL.LOSSES:
        return student, student
    return student, build_distiller(cfg, student, source=source)


def check_pair(cfg: CfgNode, *, source: Path) -> None:
    """Builds student, teacher and losses once before the teacher is trained, so that a mistake is
    reported before the long training. The random state does not change.

    Raises:
        UserError: as `build_models`, except that the teacher needs no weights yet.
    """
    with preserved_rng():
        build_distiller(cfg, build_student(cfg), source=source, trained=False)


def build_distiller(
    cfg: CfgNode, student: nn.Module, *, source: Path, trained: bool = True
) -> Distiller:
    """Wraps `student` with the teacher and the losses of the config. The random state does not
    change.

    Args:
        cfg: the run's config.
        student: the result of `build_student`.
        source: the run's yaml, for messages.
        trained: False builds the teacher with random weights, for checks before it is trained.

    Raises:
        UserError: teacher, classes and losses do not fit together.
    """
    task = task_of(cfg)
    classes, text = task.classes(cfg, source=source), task.text_classes(cfg)
    view = task.view(student)
    with preserved_rng():
        teacher = build_teacher(cfg, student, source=source, trained=trained)
        context = loss_context(view, teacher, classes, text)
        context = replace(context, teacher=cfg.DISTILL.TEACHER.CONFIG)
        nodes, ramp = cfg.DISTILL.LOSSES, cfg.DISTILL.RAMP
        losses = build_losses(nodes, context, source=str(source), ramp=ramp)
        peers = _build_peers(cfg, source=source)
    check_needs(losses, view, teacher, peers=len(peers), source=source)
    length = cfg.SOLVER.MAX_ITER
    distiller = Distiller(student, view, teacher, losses, peers=peers, length=length)
    distiller.losses.to(distiller.device)
    return distiller


def _build_peers(cfg: CfgNode, *, source: Path) -> list[View]:
    """Builds the second and later students and returns their views.

    Raises:
        UserError: DISTILL.PEERS is below 1, or the yaml of the peers is wrong.
    """
    if cfg.DISTILL.PEERS < 1:
        raise UserError(f"{source}: DISTILL.PEERS is {cfg.DISTILL.PEERS}; it must be 1 or more")
    peer_cfg = cfg
    if cfg.DISTILL.PEER_CONFIG:
        path = find_config(cfg.DISTILL.PEER_CONFIG, near=source)
        peer_cfg = load_cfg(path, ["MODEL.DEVICE", cfg.MODEL.DEVICE])
    task, views = task_of(peer_cfg), []
    for number in range(2, cfg.DISTILL.PEERS + 1):
        # Students with equal weights would agree from the start and teach each other nothing. The
        # factor is a large prime, so that neighbouring seeds do not share their peers' weights.
        torch.manual_seed(max(cfg.SEED, 0) * 1_000_003 + number)
        views.append(task.view(build_student(peer_cfg)))
    return views


def loss_context(
    view: View, teacher: Teacher | None, classes: tuple[str, ...], text: tuple[str, ...] | None
) -> LossContext:
    """Facts about the pair for the losses.

    Args:
        view: the student's view.
        teacher: its teacher; None for self-distillation. An ONNX teacher is assumed to have the
            shape of the student.
        classes: class names of the student's data.
        text: the text classes among them; None if the data set does not name them.

    Raises:
        UserError: both models are detectors, but they have no FPN level in common.
    """
    other = view if teacher is None or teacher.view is None else teacher.view
    shared = tuple(level for level in view.levels if level in other.levels)
    if view.levels and other.levels and not shared:
        raise UserError(
            f"student levels {', '.join(view.levels)} and teacher levels "
            f"{', '.join(other.levels)} have none in common"
        )
    # The heads of a one-stage and a two-stage detector are never compared: `check_needs` refuses
    # such losses, so anchors and box codes count as equal here.
    unlike = view.two_stage != other.two_stage
    anchors = all(view.anchors.get(level) == other.anchors.get(level) for level in shared)
    names = [name for name in view.channels if name in other.channels]
    detectors = view.two_stage is not None and other.two_stage is not None
    named = teacher.classes if teacher is not None else None
    bins = (view.bins, other.bins)
    return LossContext(
        channels={name: (view.channels[name], other.channels[name]) for name in names},
        strides={name: (view.strides[name], other.strides[name]) for name in names},
        levels=shared,
        num_classes=view.num_classes,
        same_classes=named is None or classes == named,
        text_classes=None if text is None else tuple(classes.index(name) for name in text),
        two_stage=(view.two_stage and other.two_stage) if detectors else None,
        shared_regions=(view.region_size == other.region_size) if detectors else None,
        same_anchors=(unlike or anchors) if detectors else None,
        same_box_codes=(unlike or view.box_codes == other.box_codes) if detectors else None,
        bins=None if None in bins else bins,
        maps={
            name: (view.maps[name], other.maps[name]) for name in view.maps if name in other.maps
        },
        text_loss=view.text_loss,
        sequence=next((part for part in ("frames", "steps") if part in view.provides), None),
        encode=view.encode,
    )


def check_needs(
    losses: dict[str, ScheduledLoss],
    view: View,
    teacher: Teacher | None,
    *,
    peers: int = 0,
    source: Path,
) -> None:
    """Checks that student, teacher and targets provide everything that the losses read.

    Raises:
        UserError: something is missing; the message names the loss and the missing part.
    """
    for key, loss in losses.items():
        place = f"{source}: DISTILL.LOSSES.{key}"
        module = loss.module
        if module.needs_peers and not peers:
            raise UserError(f"{place} compares peers; set DISTILL.PEERS to 2 or more")
        if missing := module.needs - view.provides:
            raise UserError(f"{place} reads {_words(missing)}, which the student does not give")
        if missing := module.reads - view.targets:
            raise UserError(f"{place} reads {_words(missing)}, which its targets do not give")
        if module.needs_teacher and not module.needs_peers:
            _check_teacher(place, module, view, teacher)


def _check_teacher(place: str, loss: DistillLoss, view: View, teacher: Teacher | None) -> None:
    if teacher is None:
        raise UserError(f"{place} needs a teacher; name one in DISTILL.TEACHER.CONFIG")
    if missing := loss.needs - teacher.provides:
        raise UserError(f"{place} reads {_words(missing)}, which the teacher does not give")
    other = teacher.view
    if other is None or view.two_stage == other.two_stage:
        return
    if loss.needs - {"features"}:
        raise UserError(
            f"{place} compares regions or head outputs, but one detector is two-stage and the "
            "other one-stage; remove it (feature methods such as fitnets, pkd and fgd work) or "
            "choose a teacher of the student's family"
        )


def _words(parts: frozenset[str]) -> str:
    return " and ".join(part.replace("_", " ") for part in sorted(parts))
