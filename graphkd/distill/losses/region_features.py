"""The `region_features` method: squared error of body and pyramid maps inside objects."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphkd.distill.comm import count_per_process
from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.bckd import decoded
from graphkd.distill.losses.build import register
from graphkd.distill.losses.dense_cells import all_anchors, shared_cells
from graphkd.distill.losses.functional import box_mask, crop_to_common
from graphkd.distill.losses.levels import channel_adapter
from graphkd.distill.losses.options import (
    need_anchors,
    need_dense_head,
    need_same_classes,
    number,
    switch,
)
from graphkd.distill.outputs import Dense, Outputs, Targets

TAPS = ("c3", "c4", "c5", "p3")
# The teacher's best boxes of a page that are drawn; more would be slow and cover nothing new.
MOST_BOXES = 1000


def page_trust(truth: Tensor, found: Tensor) -> Tensor:
    """Weight of every page by how much of its objects the teacher finds: 1 / r^2.

    r is (A + M) / A, with A the cells of the objects and M those of them that the teacher misses:
    1 for a teacher that finds everything, 1/4 for one that finds nothing.

    Args:
        truth: (N, H, W) bool, cells in objects.
        found: (N, H, W) bool, cells in the teacher's boxes.

    Returns:
        (N,) float32 in 1/4..1; 1 for a page without objects.
    """
    area = truth.flatten(1).sum(1).clamp(min=1)
    missed = (truth & ~found).flatten(1).sum(1)
    return ((area + missed) / area).pow(-2)


@register("region_features")
class RegionFeatures(DistillLoss):
    """Squared error of maps in the cells of objects, a mean over these cells, summed over maps.

    Source: the idea of OCRdistill's masked scripts; the weight of a page is the inverse of the
    square of its r_obj.
    Differs from them: boxes lie on the right axes, the mean is over the cells of the mask and not
    over all values, and every map counts. Its term for the background is divided by zero and thrown
    away there, and left out here.
    """

    needs = frozenset({"features", "stages"})
    reads = frozenset({"boxes"})

    def __init__(
        self,
        context: LossContext,
        *,
        taps: Sequence[str] = TAPS,
        teacher_trust: bool = False,
        teacher_score: float = 0.3,
    ):
        """Makes the adapters, 1x1 convolutions where the widths differ.

        Args:
            context: facts about the pair.
            taps: stages of the body (c3 ...) and levels of the pyramid (p3 ...) that are compared.
            teacher_trust: whether pages on which the teacher misses objects weigh less, see
                `page_trust`; needs one-stage detectors of the same anchors.
            teacher_score: lowest score of the teacher's boxes that count as found, 0..1.
        """
        super().__init__()
        self.taps = _known(taps, context)
        self.trust = switch("teacher_trust", teacher_trust)
        self.score = number("teacher_score", teacher_score, most=1)
        kinds = {"features" if tap in context.levels else "stages" for tap in self.taps}
        if self.trust:
            need_dense_head(context)
            need_anchors(context)
            need_same_classes(context, remedy="set TEACHER_TRUST to False")
            kinds.add("dense")
            self.reads = self.reads | {"anchors"}
        self.needs = frozenset(kinds)
        self.num_classes = context.num_classes
        self.strides = {tap: context.strides[tap][0] for tap in self.taps}
        self.adapters = nn.ModuleDict(
            {tap: channel_adapter(*context.channels[tap]) for tap in self.taps}
        )

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `features`; logs the mean weight of the pages as `trust`."""
        own, other = ({**each.stages, **each.features} for each in (student, teacher))
        trust = self._trust(student, teacher, targets)
        terms = []
        for tap, adapter in self.adapters.items():
            adapted = adapter(own[tap].float()).float()
            found, wanted = crop_to_common(adapted, other[tap].detach().float())
            mask = box_mask(targets.boxes, self.strides[tap], found.shape[-2:])
            error = (found - wanted).square().mean(1) * trust[:, None, None]
            kept = torch.where(mask, error, torch.zeros_like(error))
            terms.append(kept.sum() / count_per_process(mask.sum()))
        self.log = {"trust": trust.mean()}
        return {"features": torch.stack(terms).sum()}

    @torch.no_grad()
    def _trust(self, student: Outputs, teacher: Outputs, targets: Targets) -> Tensor:
        """(N,) weights of the pages, from the cells of the finest map that is compared."""
        if not self.trust:
            return torch.ones(len(targets.boxes), device=targets.boxes[0].device)
        tap = min(self.taps, key=self.strides.__getitem__)
        size = {**student.stages, **student.features}[tap].shape[-2:]
        found = self._teacher_boxes(student.dense, teacher.dense, targets)
        return page_trust(
            *(box_mask(each, self.strides[tap], size) for each in (targets.boxes, found))
        )

    def _teacher_boxes(self, own: Dense, other: Dense, targets: Targets) -> list[Tensor]:
        """Per image (B_i, 4) boxes of the teacher on the anchors that both heads have."""
        cells, classes = shared_cells(own, other), self.num_classes
        scores = cells.rows(own.logits, other.logits, widths=(classes, classes))[1].sigmoid()
        if other.quality is not None:
            scores = scores * cells.rows(own.logits, other.quality, widths=(classes, 1))[1]
        deltas = cells.rows(own.deltas, other.deltas, widths=(4, 4))[1]
        anchors, pages = all_anchors(targets)[cells.index], []
        for best, moves in zip(scores.amax(2), deltas, strict=True):
            values, places = best.topk(min(len(best), MOST_BOXES))
            places = places[values >= self.score]
            pages.append(decoded(other, moves[places], anchors[places]))
        return pages


def _known(taps: Sequence[str], context: LossContext) -> tuple[str, ...]:
    """`taps`, each once and in both networks.

    Raises:
        ValueError: none, one twice, or one that a network has not.
    """
    if isinstance(taps, str) or not taps or len({*taps}) < len(taps):
        raise ValueError(f"TAPS must be different names of maps, not {taps!r}")
    for tap in taps:
        if tap not in context.channels:
            found = ", ".join(context.channels) or "none"
            raise ValueError(f"TAPS needs the map {tap} of both networks, which share {found}")
    return tuple(taps)
