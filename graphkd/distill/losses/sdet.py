"""The `sdet`, `dsn` and `deep_supervision` methods: auxiliary text heads on maps of the student,
taught by the entropy of its own text map or by the ground truth.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphkd.distill.losses.base import LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.heads import POSITIONS, AuxiliaryLoss
from graphkd.distill.losses.maps import auc, entropy, labels_at, masked_mean, resized
from graphkd.distill.losses.options import number, one_of, switch, weight_tuple
from graphkd.distill.outputs import Outputs, Targets


@register("sdet")
class SDET(AuxiliaryLoss):
    """The entropy of an auxiliary text map imitates the entropy of the model's own text map.

    The entropy is the same for z and -z, so alone it cannot tell text from background: the head may
    settle on the negative of the text map. `kd/sdet/auc` tells which it is (1 the text map, 0 its
    negative), and AUX_GT adds the ground truth.

    Source: the abstract and the tables of SDET; its text is not available to us. Form of the loss,
    weight, ramp and heads are ours. Region `text` is the mask of MaskET.
    """

    def __init__(
        self,
        context: LossContext,
        *,
        head: str | None = None,
        position: str = "P3",
        tap: str = "levels",
        region: str = "all",
        resize: str = "target",
        distance: str = "mse",
        detach: bool = True,
        entropy: float = 1.0,
        aux_gt: float = 0.0,
        ramp: float = 0.1,
    ):
        """Makes the head.

        Args:
            context: facts about the student.
            head: plain, deconv or refine; None for the detector's best in the tables of SDET.
            position: P0 (stride 32) to P3 (stride 4).
            tap: levels (of the neck) or stages (of the body).
            region: all pixels that are trained on, or only those of text.
            resize: which map is brought to the size of the other: the target or the head's.
            distance: mse or l1.
            detach: whether the model's own map is a constant.
            entropy: factor of the entropy term; 0 for none.
            aux_gt: factor of the detector's own text loss on the auxiliary map; 0 for none.
            ramp: share of the training over which the entropy term grows from 0, because the
                entropy of an untrained map is noise.
        """
        super().__init__(context, head=head, positions=(position,), tap=tap)
        self.region = one_of("region", region, ("all", "text"))
        self.resize = one_of("resize", resize, ("target", "head"))
        self.distance = one_of("distance", distance, ("mse", "l1"))
        self.detach = switch("detach", detach)
        self.entropy, self.aux_gt = number("entropy", entropy), number("aux_gt", aux_gt)
        self.ramp = number("ramp", ramp, most=1)
        if not self.entropy + self.aux_gt:
            raise ValueError("ENTROPY and AUX_GT must not both be 0")

    def forward(self, student: Outputs, teacher: None, targets: Targets) -> dict[str, Tensor]:
        """Returns `entropy` and `truth`, those with a factor above 0."""
        logits = self.logits(student, self.names[0])
        labels, mask = labels_at(targets, logits.shape[-2:])
        self.log = {"auc": auc(logits, labels, mask)}
        terms = {}
        if self.entropy:
            share = min(1.0, targets.progress / self.ramp) if self.ramp else 1.0
            terms["entropy"] = share * self.entropy * self._entropy_term(student, logits, targets)
        if self.aux_gt:
            terms["truth"] = self.aux_gt * self.truth(logits, targets)
        return terms

    def _entropy_term(self, student: Outputs, logits: Tensor, targets: Targets) -> Tensor:
        target = student.maps["text"]
        wanted = entropy(target.detach() if self.detach else target)
        found = entropy(logits)
        if self.resize == "target":
            wanted = resized(wanted, found.shape[-2:])
        else:
            found = resized(found, wanted.shape[-2:])
        labels, mask = labels_at(targets, found.shape[-2:])
        gap = found - wanted
        gap = gap.square() if self.distance == "mse" else gap.abs()
        return masked_mean(gap, mask * labels if self.region == "text" else mask)


@register("dsn")
class DSN(AuxiliaryLoss):
    """The detector's own text loss on an auxiliary text map.

    Source: Lee et al., Deeply-Supervised Nets, with head and position of SDET.
    """

    def __init__(
        self,
        context: LossContext,
        *,
        head: str | None = None,
        position: str = "P3",
        tap: str = "levels",
    ):
        """Makes the head; the options are those of `SDET`."""
        super().__init__(context, head=head, positions=(position,), tap=tap)

    def forward(self, student: Outputs, teacher: None, targets: Targets) -> dict[str, Tensor]:
        """Returns `truth`."""
        logits = self.logits(student, self.names[0])
        self.log = {"auc": auc(logits, *labels_at(targets, logits.shape[-2:]))}
        return {"truth": self.truth(logits, targets)}


@register("deep_supervision")
class DeepSupervision(AuxiliaryLoss):
    """The detector's own text loss on auxiliary maps of several levels, as PP-OCRv6's smallest
    detector is trained.
    """

    def __init__(
        self,
        context: LossContext,
        *,
        head: str | None = "plain",
        weights: Sequence[float] = (0.0, 0.2, 0.3, 0.4),
        tap: str = "levels",
    ):
        """Makes the heads.

        Args:
            context: facts about the student.
            head: as for `SDET`.
            weights: factors of P0 (stride 32) to P3 (stride 4); 0 for no head.
            tap: levels (of the neck) or stages (of the body).
        """
        weights = weight_tuple("weights", weights, length=len(POSITIONS))
        chosen = {place: weight for place, weight in zip(POSITIONS, weights, strict=True) if weight}
        super().__init__(context, head=head, positions=tuple(chosen), tap=tap)
        self.weights = dict(zip(self.names, chosen.values(), strict=True))

    def forward(self, student: Outputs, teacher: None, targets: Targets) -> dict[str, Tensor]:
        """Returns `truth`, the weighted sum over the maps."""
        terms = [
            weight * self.truth(self.logits(student, name), targets)
            for name, weight in self.weights.items()
        ]
        return {"truth": torch.stack(terms).sum()}
