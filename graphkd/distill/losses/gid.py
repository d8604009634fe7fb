"""The `gid` method: the few regions where both networks disagree most."""

from dataclasses import replace

import torch
from torch import Tensor, stack
from torch.nn import functional as F
from torchvision.ops import nms

from graphkd.distill.comm import count_per_process
from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import deltas_of_class, softened_kl
from graphkd.distill.losses.levels import channel_adapter
from graphkd.distill.losses.options import (
    need_same_box_codes,
    need_two_stage,
    number,
    whole_number,
)
from graphkd.distill.outputs import Outputs, Regions, Targets


def general_instances(
    student: Regions, teacher: Regions, *, top: int, overlap: float
) -> list[Tensor]:
    """The regions of every image with the largest difference of class probabilities.

    Args:
        student: regions with logits (R, K + 1).
        teacher: the same regions.
        top: at most so many an image.
        overlap: IoU above which the region of smaller difference is dropped.

    Returns:
        Per image (T_i,) int64 rows, falling in difference. Background does not count as a class.
    """
    gap = student.logits.detach().float().softmax(1) - teacher.logits.float().softmax(1)
    gap = gap[:, :-1].abs().amax(1)
    chosen, first = [], 0
    for boxes in student.boxes:
        here = gap[first : first + len(boxes)]
        chosen.append(nms(boxes.float(), here, overlap)[:top] + first)
        first += len(boxes)
    return chosen


def relation(features: Tensor) -> Tensor:
    """Euclidean distances between rows (T, D), divided by their mean over unequal pairs, (T, T)."""
    squared = (features[:, None] - features[None]).square().sum(2)
    # the root has no finite slope at 0, where the diagonal and copies of a region lie
    distances = squared.clamp(min=1e-12).sqrt()
    distances = torch.where(squared > 0, distances, torch.zeros_like(squared))
    pairs = max(len(features) * (len(features) - 1), 1)
    return distances / (distances.sum() / pairs).clamp(min=1e-6)


def instance_terms(
    student: Regions, teacher: Regions, rows: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Feature, relation and response disagreement on chosen regions of one image.

    Args:
        student: regions whose features are as wide as the teacher's.
        teacher: the same regions.
        rows: (T,) chosen rows, T >= 1.
        temperature: T of the class scores.

    Returns:
        Squared error summed over a region's features, a mean over regions; smooth L1 of `relation`,
        a mean over pairs; T^2 KL of the class scores plus L1 of the deltas of the class the teacher
        sees, a mean over regions.
    """
    seen, wanted = student.features[rows].flatten(1), teacher.features[rows].flatten(1).float()
    feature = (seen - wanted).square().sum(1).mean()
    pairs = F.smooth_l1_loss(relation(seen), relation(wanted))
    classes = teacher.logits[rows, :-1].argmax(1)
    boxes = deltas_of_class(student.deltas[rows], classes)
    boxes = boxes.float() - deltas_of_class(teacher.deltas[rows], classes).float()
    divergence = softened_kl(student.logits[rows], teacher.logits[rows], temperature=temperature)
    return feature, pairs, divergence.mean() + boxes.abs().mean()


@register("gid")
class GID(DistillLoss):
    """Feature, relation and response terms on general instances.

    Source: Dai et al., General Instance Distillation for Object Detection, section 3.
    Differs from the paper: instances are chosen among the student's sampled regions, which both
    networks score at the same boxes, in place of all predicted boxes; relations are a mean over
    pairs; the response term is a KL and an L1 distance on these regions in place of a masked copy
    of the detector's own losses.
    """

    needs = frozenset({"region_features", "region_predictions"})
    needs_same_classes = True

    def __init__(
        self,
        context: LossContext,
        *,
        feature_weight: float = 5e-4,
        relation_weight: float = 40.0,
        response_weight: float = 1.0,
        top: int = 10,
        overlap: float = 0.3,
        temperature: float = 1.0,
    ):
        """Makes the adapter.

        Args:
            context: facts about the pair.
            feature_weight: of the feature term.
            relation_weight: of the relation term.
            response_weight: of the response term.
            top: instances an image.
            overlap: IoU above which two regions count as one instance, 0..1.
            temperature: T of the class scores in the response term.
        """
        super().__init__()
        need_two_stage(context)
        need_same_box_codes(context, remedy="remove it")
        if not context.shared_regions:
            raise ValueError("needs region features of equal height and width in both detectors")
        self.weights = {
            "feature": number("feature_weight", feature_weight),
            "relation": number("relation_weight", relation_weight),
            "response": number("response_weight", response_weight),
        }
        self.top = whole_number("top", top, least=1)
        self.overlap = number("overlap", overlap, most=1)
        self.temperature = number("temperature", temperature, positive=True)
        self.adapter = channel_adapter(*context.width())

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `feature`, `relation` and `response`, means over images that have regions."""
        features = self.adapter(student.regions.features.float()).float()
        seen, wanted = replace(student.regions, features=features), teacher.detached().regions
        chosen = general_instances(seen, wanted, top=self.top, overlap=self.overlap)
        images = [
            stack(instance_terms(seen, wanted, rows, temperature=self.temperature))
            for rows in chosen
            if len(rows)
        ]
        reach = 0 * (seen.features.sum() + seen.logits.sum() + seen.deltas.sum()).float()
        total = stack(images).sum(0) if images else reach.expand(3)
        means = total / count_per_process(total.new_tensor(len(images)))
        return {
            name: self.weights[name] * value
            for name, value in zip(self.weights, means, strict=True)
        }
