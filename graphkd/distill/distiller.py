"""The distillation step: runs unmodified students and the teacher, and computes all losses."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from graphkd.distill.comm import sum_over_processes
from graphkd.distill.losses.build import ScheduledLoss
from graphkd.distill.outputs import REGION_PARTS, Outputs, Targets
from graphkd.distill.teacher import Teacher
from graphkd.errors import UserError
from graphkd.views.view import View


class Distiller(nn.Module):
    """Combines student, teacher and losses into one module. In training mode it returns a dict of
    losses; otherwise it returns what the student returns.

    Child modules are the student, its peers and the losses. The teacher is not one, so it is in no
    state dict and no optimizer.

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
            student: the model to train and save.
            view: its view.
            teacher: the teacher; None for self-distillation.
            losses: key in the yaml -> built loss.
            peers: views of other students, which are trained on the same batches.
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
        wanted = frozenset().union(*(loss.module.needs for loss in losses.values()))
        for each in (self.view, *self.peer_views):
            each.wanted = wanted
        self.iteration, self.length = 0, length
        self.log: dict[str, Tensor] = {}

    @property
    def device(self) -> torch.device:
        """The device of the student; Detectron2's evaluators read it."""
        return next(self.student.parameters()).device

    def after_step(self) -> None:
        """Called after every optimizer step."""
        if self.teacher is not None:
            self.teacher.after_step(self.student)

    def forward(self, batch: list[dict]):
        """In training mode, returns the student's own losses plus `loss_kd_<key>_<term>`; otherwise
        the student's predictions.

        Every term is multiplied by its WEIGHT and by the ramp at `self.iteration`. `self.log` then
        holds these detached scalars:

        * `kd/<key>/...`: diagnostics of the loss.
        * `kd_raw/<key>_<term>`: the term as the loss returns it, before WEIGHT and ramp.
        * `kd_factor/<key>`: WEIGHT times ramp.
        * `kd_share/<key>_<term>`: the term's share of the total loss.
        """
        if not self.training:
            return self.student(batch)
        regions = bool(self.needs & REGION_PARTS)
        # Where it needs no boxes of the student, the teacher goes first: what its layers hold is
        # free again before those of the student fill up.
        teacher = None if regions else self._observe(batch, None)
        steps = self._steps(batch)
        losses, student, _ = steps[0]
        if regions:
            teacher = self._observe(batch, [box.detach() for box in student.regions.boxes])
        for number, (own, _, _) in enumerate(steps[1:], start=2):
            losses.update({f"{name}_peer{number}": value for name, value in own.items()})
        log: dict[str, Tensor] = {}
        for key, loss in self.scheduled.items():
            if loss.module.needs_peers:
                terms = _pairwise(loss.module, steps)
            else:
                given = teacher if loss.module.needs_teacher else None
                taught = steps if loss.module.teaches_peers else steps[:1]
                terms = _sums(loss.module(said, given, truth) for _, said, truth in taught)
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

    def _observe(self, batch: list[dict], boxes: list[Tensor] | None) -> Outputs | None:
        if self.teacher is None:
            return None
        # An ONNX teacher answers on the CPU, where the batch is.
        return self.teacher.observe(batch, boxes, self.needs).to(self.device)

    def _steps(self, batch: list[dict]) -> list[tuple[dict[str, Tensor], Outputs, Targets]]:
        """Runs the training step of every student.

        If a student diverges on one process, all processes raise an error here. Otherwise the
        others would wait for it forever in the losses' sums.
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
    """The terms of a loss between peers. For every student the loss is averaged over its peers,
    whose outputs have no gradient; these means are summed over the students.
    """
    pairs = [(one, other) for one in steps for other in steps if one is not other]
    sums = _sums(
        loss(student, other.detached(), targets) for (_, student, targets), (_, other, _) in pairs
    )
    return {name: value / (len(steps) - 1) for name, value in sums.items()}


def _sums(each: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The terms of several students, summed by name."""
    sums: dict[str, Tensor] = {}
    for terms in each:
        for name, value in terms.items():
            sums[name] = sums[name] + value if name in sums else value
    return sums
