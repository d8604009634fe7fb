"""The frozen teacher: a plain object, no nn.Module child of anything, and the checks before it
teaches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from graphkd.checkpoint import load_weights
from graphkd.config import find_config, load_cfg
from graphkd.data.catalog import dataset_classes
from graphkd.distill.outputs import Outputs
from graphkd.errors import COMMAND, UserError
from graphkd.modeling.network import build_network, compile_body
from graphkd.views import view_of
from graphkd.views.view import View


@dataclass(frozen=True)
class FrozenTeacher:
    """A detector that only answers: eval mode, no gradient, in no state_dict, checkpoint or
    optimizer.

    Attributes:
        view: the view of the teacher's model.
        classes: its class names in order.
        input_format: channel order its model expects, "BGR" or "RGB".
        student_format: channel order of the batches it is shown.
    """

    view: View
    classes: tuple[str, ...]
    input_format: str = "BGR"
    student_format: str = "BGR"

    def __post_init__(self):
        self.view.model.eval().requires_grad_(False)

    @property
    def model(self) -> nn.Module:
        """The teacher's Detectron2 model."""
        return self.view.model

    @torch.no_grad()
    def observe(
        self, batch: list[dict], boxes: Sequence[Tensor] | None, needs: frozenset[str]
    ) -> Outputs:
        """What the teacher says about the student's batch, at the student's boxes.

        Args:
            batch: the student's batch; images (3, H, W).
            boxes: per image (R_i, 4) in student input pixels; None where no loss reads regions.
            needs: the parts that the configured losses read; nothing else is computed.

        Returns:
            Outputs in the student's pixels.
        """
        assert not self.model.training, "the teacher was switched to training mode"
        return self.view.observe([self._show(item["image"]) for item in batch], boxes, needs)

    def _show(self, image: Tensor) -> dict:
        same = self.input_format == self.student_format
        return {"image": image if same else image.flip(0)}


def load_teacher_cfg(cfg, *, source: Path) -> CfgNode:
    """The teacher's own complete config, on the device of the run.

    Args:
        cfg: the run's config; reads DISTILL.TEACHER.CONFIG and MODEL.DEVICE.
        source: the run's yaml file, near which the teacher's yaml is looked for.

    Raises:
        UserError: the run names no teacher, or its yaml is missing or wrong.
    """
    if not cfg.DISTILL.TEACHER.CONFIG:
        raise UserError(f"{source}: DISTILL.TEACHER.CONFIG names no teacher yaml")
    path = find_config(cfg.DISTILL.TEACHER.CONFIG, near=source)
    data = ["DATASETS.NAME", cfg.DATASETS.NAME]
    return load_cfg(path, [*data, "MODEL.DEVICE", cfg.MODEL.DEVICE])


def teacher_weights(cfg, teacher_cfg) -> Path:
    """Where the teacher's weights are, or will be once it is trained."""
    return Path(cfg.DISTILL.TEACHER.WEIGHTS or Path(teacher_cfg.OUTPUT_DIR) / "model_final.pth")


def require_weights(cfg, teacher_cfg, *, source: Path) -> Path:
    """The teacher's weights file.

    Raises:
        UserError: it is not there; the message names the command that makes it.
    """
    weights = teacher_weights(cfg, teacher_cfg)
    if not weights.is_file():
        data = f" --data {cfg.DATASETS.NAME}" if cfg.DATASETS.NAME else ""
        raise UserError(
            f"{source}: the teacher has no weights yet ({weights}); train it with "
            f"`{COMMAND} train {cfg.DISTILL.TEACHER.CONFIG}{data}` or add --with-teacher"
        )
    return weights


def build_teacher(cfg, *, source: Path) -> FrozenTeacher:
    """Builds the teacher of a run from its own yaml and loads its weights completely.

    Args:
        cfg: the run's config; reads DISTILL.TEACHER, MODEL.DEVICE and INPUT.FORMAT.
        source: the run's yaml file, for paths and error messages.

    Raises:
        UserError: no weights yet, weights that do not fill the model, or another class list in
        them.
    """
    weights = require_weights(cfg, load_teacher_cfg(cfg, source=source), source=source)
    teacher = build_untrained_teacher(cfg, source=source)
    load_weights(teacher.model, weights, classes=teacher.classes, trust=cfg.TRUST_PICKLES)
    if cfg.DISTILL.TEACHER.COMPILE:
        compile_body(teacher.model)
    return teacher


def build_untrained_teacher(cfg, *, source: Path) -> FrozenTeacher:
    """The teacher of a run before its weights are loaded; arguments as of `build_teacher`.

    Raises:
        UserError: the teacher's yaml is missing or wrong, or its classes are not those of its data.
    """
    teacher_cfg = load_teacher_cfg(cfg, source=source)
    classes = dataset_classes(teacher_cfg.DATASETS.TRAIN)
    model = build_network(teacher_cfg)
    view = view_of(model)
    if view.num_classes != len(classes):
        raise UserError(
            f"{cfg.DISTILL.TEACHER.CONFIG}: the teacher has {view.num_classes} classes, its data "
            f"set {teacher_cfg.DATASETS.TRAIN[0]} has {len(classes)}; set NUM_CLASSES to that"
        )
    return FrozenTeacher(
        view=view,
        classes=classes,
        input_format=teacher_cfg.INPUT.FORMAT,
        student_format=cfg.INPUT.FORMAT,
    )
