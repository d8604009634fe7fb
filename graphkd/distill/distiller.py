"""One distillation training step around an unmodified student; no graph maths and no module
paths.
"""

import torch
from torch import Tensor, nn

from graphkd.distill.comm import sum_over_processes
from graphkd.distill.losses.build import ScheduledLoss
from graphkd.distill.teacher import FrozenTeacher
from graphkd.errors import UserError
from graphkd.views.view import View


class Distiller(nn.Module):
    """Student + frozen teacher + losses: in training a loss dict, otherwise the student itself.

    Only the student and the losses' trainable adapters are children; the teacher is not.
    """

    def __init__(
        self,
        student: nn.Module,
        view: View,
        teacher: FrozenTeacher,
        losses: dict[str, ScheduledLoss],
    ):
        """Wraps `student`, whose family `view` knows; `losses` maps the yaml's key to a built
        loss.
        """
        super().__init__()
        assert not isinstance(teacher, nn.Module), "the teacher must not become a child module"
        self.student = student
        self.losses = nn.ModuleDict({key: loss.module for key, loss in losses.items()})
        self.view = view
        self.teacher = teacher
        self.scheduled = losses
        self.needs = frozenset().union(*(loss.module.needs for loss in losses.values()))
        self.iteration = 0
        self.log: dict[str, Tensor] = {}

    @property
    def device(self) -> torch.device:
        """Where the student runs; Detectron2's evaluators ask for it."""
        return self.student.device

    def forward(self, batch: list[dict]):
        """In training: the student's own losses plus `loss_kd_<key>_<term>`; else the student's
        answer.

        Every term is already multiplied by its WEIGHT and ramp at `self.iteration`. `self.log` then
        holds, as detached scalars: `kd/<key>/...` the losses' own diagnostics,
        `kd_raw/<key>_<term>` the terms as the loss gives them, which is with the weights among its
        own terms but before WEIGHT and ramp, `kd_factor/<key>` the product of these two, and
        `kd_share/<key>_<term>` the share of the total.
        """
        if not self.training:
            return self.student(batch)
        losses, student, targets = self._student_step(batch)
        boxes = None
        if self.needs & {"region_features", "region_predictions"}:
            boxes = [box.detach() for box in student.regions.boxes]
        teacher = self.teacher.observe(batch, boxes, self.needs)
        log: dict[str, Tensor] = {}
        for key, loss in self.scheduled.items():
            terms = loss.module(student, teacher, targets)
            if not any(value.requires_grad for value in terms.values()):
                raise UserError(f"DISTILL.LOSSES.{key} gave no term that teaches the student")
            factor = loss.factor(self.iteration)
            log[f"kd_factor/{key}"] = torch.tensor(factor)
            for term, value in terms.items():
                losses[f"loss_kd_{key}_{term}"] = factor * value
                log[f"kd_raw/{key}_{term}"] = value.detach()
            for name, value in getattr(loss.module, "log", {}).items():
                log[f"kd/{key}/{name}"] = value
        total = sum(value.detach() for value in losses.values()).clamp(min=1e-12)
        for name, value in losses.items():
            if name.startswith("loss_kd_"):
                log[f"kd_share/{name.removeprefix('loss_kd_')}"] = value.detach() / total
        self.log = log
        return losses

    def _student_step(self, batch: list[dict]):
        """The student's step; one process's diverged student is an error on all of them, before
        they wait for each other in the losses' sums.
        """
        problem = step = None
        try:
            step = self.view.step(batch)
        except FloatingPointError as error:
            problem = error
        failed = torch.tensor(float(problem is not None), device=self.device)
        if sum_over_processes(failed) > 0:
            raise problem or FloatingPointError()
        return step
