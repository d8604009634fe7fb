"""One distillation training step around unmodified students."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from graphkd.distill.comm import sum_over_processes
from graphkd.distill.losses.build import ScheduledLoss
from graphkd.distill.outputs import Outputs, Targets
from graphkd.distill.teacher import Teacher
from graphkd.errors import UserError
from graphkd.views.view import View

_REGIONS = frozenset({"region_features", "region_predictions"})


class Distiller(nn.Module):
    """Student + teacher + losses: in training a loss dict, otherwise the student itself.

    Only the student, its peers and the losses' own parameters are children; the teacher is not.

    Attributes:
        iteration: the training step, from 0; the trainer sets it.
        length: number of training steps.
        log: detached scalars of the last step.
    """

    def __init__(
        self,
        student: nn.Module,
        view: View,
        teacher: Teacher | None,
        losses: dict[str, ScheduledLoss],
        *,
        peers: list[View] | None = None,
        length: int = 1,
    ):
        """Wraps `student`, which `view` reads.

        Args:
            student: the model that is kept.
            view: its view.
            teacher: what answers for the student's batches; None for self-distillation.
            losses: key in the yaml -> built loss.
            peers: views of the other students that step on the same batch.
            length: number of training steps.
        """
        super().__init__()
        assert not isinstance(teacher, nn.Module), "the teacher must not become a child module"
        self.student = student
        self.peers = nn.ModuleList([peer.model for peer in peers or []])
        self.losses = nn.ModuleDict({key: loss.module for key, loss in losses.items()})
        self.view, self.peer_views = view, peers or []
        self.teacher, self.scheduled = teacher, losses
        taught = [loss.module.needs for loss in losses.values() if loss.module.needs_teacher]
        self.needs = frozenset().union(*taught)
        self.iteration, self.length = 0, length
        self.log: dict[str, Tensor] = {}

    @property
    def device(self) -> torch.device:
        """Where the student runs; Detectron2's evaluators ask for it."""
        return next(self.student.parameters()).device

    def after_step(self) -> None:
        """Called after every optimizer step."""
        if self.teacher is not None:
            self.teacher.after_step(self.student)

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
        steps = self._steps(batch)
        losses, student, targets = steps[0]
        for number, (own, _, _) in enumerate(steps[1:], start=2):
            losses.update({f"{name}_peer{number}": value for name, value in own.items()})
        teacher = self._observe(batch, student)
        log: dict[str, Tensor] = {}
        for key, loss in self.scheduled.items():
            if loss.module.needs_peers:
                terms = _pairwise(loss.module, steps)
            else:
                given = teacher if loss.module.needs_teacher else None
                terms = loss.module(student, given, targets)
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

    def _observe(self, batch: list[dict], student: Outputs) -> Outputs | None:
        if self.teacher is None:
            return None
        boxes = None
        if self.needs & _REGIONS:
            boxes = [box.detach() for box in student.regions.boxes]
        return self.teacher.observe(batch, boxes, self.needs)

    def _steps(self, batch: list[dict]) -> list[tuple[dict[str, Tensor], Outputs, Targets]]:
        """The step of every student.

        One process's diverged student is an error on all of them, before they wait for each other
        in the losses' sums.
        """
        problem, steps = None, []
        try:
            steps = [view.step(batch) for view in (self.view, *self.peer_views)]
        except FloatingPointError as error:
            problem = error
        failed = torch.tensor(float(problem is not None), device=self.device)
        if sum_over_processes(failed) > 0:
            raise problem or FloatingPointError()
        progress = min(1.0, self.iteration / self.length)
        return [(own, said, replace(truth, progress=progress)) for own, said, truth in steps]


def _pairwise(loss: nn.Module, steps: list) -> dict[str, Tensor]:
    """The terms of a loss between peers, over all ordered pairs, the other side without gradient:
    for every student the mean over its peers, summed over the students.
    """
    sums: dict[str, Tensor] = {}
    pairs = [(one, other) for one in steps for other in steps if one is not other]
    for (_, student, targets), (_, other, _) in pairs:
        for name, value in loss(student, other.detached(), targets).items():
            sums[name] = sums.get(name, 0) + value / (len(steps) - 1)
    return sums
