"""The `ld` method: distributions of box edges, taught where boxes are trained and around there."""

import torch
from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.comm import count_per_process
from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.dense_cells import (
    SharedCells,
    class_scores,
    read_assignment,
    shared_cells,
    valuable_region,
)
from graphkd.distill.losses.functional import bernoulli_kl
from graphkd.distill.losses.options import (
    need_anchors,
    need_dense_head,
    need_same_classes,
    number,
    one_of,
    switch,
)
from graphkd.distill.outputs import Outputs, Targets
from graphkd.errors import UserError

# Factors of the terms main, vlr, classes and vlr_classes. Those of `weights` and `positives` are
# ours: the same strength as the published ones at a sum of weights of 102 of 204 positives, a
# process of three COCO images.
FACTORS = {
    "positives": (1.5, 0.375, 1.0, 0.0),
    "weights": (1.5, 0.375, 1.0, 0.0),
    "legacy": (0.25, 0.25, 10.0, 0.0),
}
# Weight of a positive, its best class score, in a trained detector.
TRAINED_WEIGHT = 0.5
# What the released code divides the sum over the four edges by.
LEGACY_MAIN, LEGACY_VLR = 4.0, 16.0


def resample_bins(log_teacher: Tensor, *, bins: int, ratio: float = 1.0) -> Tensor:
    """A distribution over the teacher's bins as one over the student's.

    Each bin's mass is spread evenly over the bin's width, and each of the student's bins gets what
    lies within its own width; the first and the last take all beyond them. [ours]

    Args:
        log_teacher: (..., n_T + 1) logarithms of probabilities.
        bins: n_S, the last bin of the student.
        ratio: the teacher's bin width over the student's.

    Returns:
        (..., n_S + 1) logarithms of probabilities; -inf in bins that get nothing.
    """
    count = log_teacher.shape[-1]
    edges = (torch.arange(count + 1, device=log_teacher.device) - 0.5) * ratio
    low, high = edges[:-1, None], edges[1:, None]
    own = torch.arange(bins + 2, device=log_teacher.device) - 0.5
    own[0], own[-1] = -torch.inf, torch.inf
    share = (torch.minimum(high, own[1:]) - torch.maximum(low, own[:-1])).clamp(min=0) / ratio
    return torch.logsumexp(log_teacher[..., None] + share.log(), -2)


def edge_divergence(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of distributions of box edges whose bins may differ in number.

    Bins are as wide as each other. A teacher with more bins is resampled before it is softened: at
    a high temperature it is nearly flat, and its many far bins would all fall into the last one.
    A student with more bins is compared on those that the teacher has.

    Args:
        student: (..., n_S + 1) logits.
        teacher: (..., n_T + 1) logits, taken as a constant.
        temperature: T, above 0.

    Returns:
        (...), float32, summed over bins, not below 0.
    """
    student, teacher = student.float(), teacher.detach().float()
    count = min(student.shape[-1], teacher.shape[-1])
    teacher = F.log_softmax(teacher, -1)
    if teacher.shape[-1] > count:
        teacher = resample_bins(teacher, bins=count - 1)
    wanted = F.log_softmax(teacher / temperature, -1)
    seen = F.log_softmax(student[..., :count] / temperature, -1)
    there = wanted > -torch.inf
    difference = torch.where(there, wanted - seen, torch.zeros_like(seen))
    return temperature**2 * (wanted.exp() * difference).sum(-1)


def softmax_class_divergence(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """T^2 KL of the softmax over classes, a mean over the K classes: the released class term.

    It has no gradient for one class, where a softmax is always 1.
    """
    return edge_divergence(student, teacher, temperature=temperature) / student.shape[-1]


@register("ld")
class LocalizationDistillation(DistillLoss):
    """Softened distributions of box edges, and class scores, on chosen anchors.

    Main terms are on the anchors that the student is trained on, VLR terms on those of
    `valuable_region`. `NORM: weights` divides the edge terms by the sum of weights that the
    detector's own box losses are divided by, so distillation keeps its proportion to them.

    Source: Zheng et al., Localization Distillation for Dense Object Detection (CVPR 2022), and the
    released code for `NORM: legacy`.
    Differs from them: `NORM: weights`; class terms compare sigmoids, which teach with one class
    too; unlike numbers of bins.
    """

    needs = frozenset({"dense"})
    reads = frozenset({"boxes", "anchors", "assignment"})

    def __init__(
        self,
        context: LossContext,
        *,
        norm: str = "weights",
        main: float | None = None,
        vlr: float | None = None,
        classes: float | None = None,
        vlr_classes: float | None = None,
        temperature: float = 10.0,
        class_temperature: float = 2.0,
        region: str = "diou",
        gamma: float = 0.25,
        vlr_excludes_positives: bool = False,
    ):
        """Takes the options.

        Args:
            context: facts about the pair.
            norm: what edge terms are divided by. weights (ours): the sum of the positives' weights.
                positives (ours): half their number. The weights of a new student are about 0.01,
                so its VLR term, whose own weights are IoUs, is a hundred times too strong under
                `weights`. legacy: nothing, as released, so that the terms grow with the batch of a
                process; for runs at its batch of 6.
            main: factor of the edge term on the student's positives; None takes that of `FACTORS`,
                as for the next three.
            vlr: factor of the edge term on the VLR.
            classes: factor of the class term on positives.
            vlr_classes: factor of the class term on the VLR.
            temperature: T of the edges.
            class_temperature: T of the class scores.
            region: diou (the VLR), or negatives: all anchors without an object, weighted by the
                student's best class score, as released for FCOS.
            gamma: lower end of the VLR as a share of the upper, 0..1.
            vlr_excludes_positives: whether positives are left out of the VLR.
        """
        super().__init__()
        need_dense_head(context)
        if context.bins is None:
            raise ValueError(
                "needs distributions of box edges (GFL, PicoGFL) from the student and from "
                f"{context.teacher or 'its teacher'}, and one of them has none; use bckd, logits "
                "or a method on features such as pkd or fgd"
            )
        need_anchors(context)
        self.norm = one_of("norm", norm, tuple(FACTORS))
        given = {"main": main, "vlr": vlr, "classes": classes, "vlr_classes": vlr_classes}
        self.factors = {
            name: number(name, usual if value is None else value)
            for (name, value), usual in zip(given.items(), FACTORS[norm], strict=True)
        }
        if not any(self.factors.values()):
            raise ValueError("MAIN, VLR, CLASSES and VLR_CLASSES must not all be 0")
        if self.factors["classes"] or self.factors["vlr_classes"]:
            need_same_classes(context, remedy="set CLASSES and VLR_CLASSES to 0")
        self.bins, self.num_classes = context.bins, context.num_classes
        self.temperature = number("temperature", temperature, positive=True)
        self.class_temperature = number("class_temperature", class_temperature, positive=True)
        self.region = one_of("region", region, ("diou", "negatives"))
        self.gamma = number("gamma", gamma, most=1)
        self.exclude = switch("vlr_excludes_positives", vlr_excludes_positives)
        if region == "negatives" or not (self.factors["vlr"] or self.factors["vlr_classes"]):
            self.reads = frozenset({"assignment"})
        self.log: dict[str, Tensor] = {}

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns the terms of `FACTORS` whose factor is not 0."""
        if student.dense.distributions is None or teacher.dense.distributions is None:
            raise UserError("ld needs distributions of box edges from teacher and student")
        cells = shared_cells(student.dense, teacher.dense)
        assignment = read_assignment(targets)
        positive = torch.stack(assignment.owners)[:, cells.index] >= 0
        scores = class_scores(student.dense, num_classes=self.num_classes).amax(2)
        scores = scores[:, cells.index]
        weights = {"main": torch.where(positive, scores, torch.zeros_like(scores))}
        if self.factors["vlr"] or self.factors["vlr_classes"]:
            weights["vlr"] = self._region(targets, cells, positive, scores)
        if self.norm == "positives":
            divisor = TRAINED_WEIGHT * count_per_process(positive.sum())
        else:
            divisor = count_per_process(weights["main"].sum())
        counts = {name: (each > 0).sum() for name, each in weights.items()}
        self.log = {f"{name}_anchors": count.float() for name, count in counts.items()}
        self.log["weight_sum"] = weights["main"].sum()
        edges = self._edges(student, teacher, cells)
        terms = {}
        for name, each in weights.items():
            chosen = positive if name == "main" else each > 0
            if self.factors[name]:
                sums = self._edge_sum(*edges, chosen, each)
                if self.norm == "legacy":
                    bins = min(self.bins) + 1
                    share = LEGACY_MAIN if name == "main" else LEGACY_VLR
                    terms[name] = self.factors[name] * sums / bins / share
                else:
                    terms[name] = self.factors[name] * sums / 4 / divisor
            key = "classes" if name == "main" else "vlr_classes"
            if self.factors[key]:
                terms[key] = self.factors[key] * self._classes(student, teacher, cells, chosen)
        return terms

    def _edges(
        self, student: Outputs, teacher: Outputs, cells: SharedCells
    ) -> tuple[Tensor, Tensor]:
        maps = student.dense.distributions, teacher.dense.distributions
        return cells.rows(*maps, widths=tuple(4 * (last + 1) for last in self.bins))

    def _edge_sum(self, student: Tensor, teacher: Tensor, chosen: Tensor, weights: Tensor):
        """The weighted sum over chosen anchors and their four edges."""
        seen, wanted = (each[chosen].unflatten(-1, (4, -1)) for each in (student, teacher))
        divergence = edge_divergence(seen, wanted, temperature=self.temperature)
        return (divergence.sum(1) * weights[chosen]).sum()

    def _classes(
        self, student: Outputs, teacher: Outputs, cells: SharedCells, chosen: Tensor
    ) -> Tensor:
        maps = student.dense.logits, teacher.dense.logits
        seen, wanted = cells.rows(*maps, widths=(self.num_classes,) * 2)
        if self.norm != "legacy":
            divergence = bernoulli_kl(
                seen[chosen], wanted[chosen], temperature=self.class_temperature
            )
            return divergence.sum() / count_per_process(chosen.sum())
        levels = []
        parts = zip(*(each.split(cells.counts, 1) for each in (seen, wanted, chosen)), strict=True)
        for own, other, some in parts:
            divergence = softmax_class_divergence(
                own[some], other[some], temperature=self.class_temperature
            )
            levels.append(divergence.sum() / some.sum().clamp(min=1))
        return torch.stack(levels).sum()

    def _region(
        self, targets: Targets, cells: SharedCells, positive: Tensor, scores: Tensor
    ) -> Tensor:
        """(N, n) weights of the anchors of the region, 0 outside."""
        if self.region == "diou":
            values = valuable_region(targets, gamma=self.gamma, exclude_positives=self.exclude)
            return values[:, cells.index]
        valid = torch.stack(targets.assignment.valid)[:, cells.index]
        return torch.where(valid & ~positive, scores, torch.zeros_like(scores))
