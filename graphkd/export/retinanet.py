"""RetinaNet as an exportable head: features in, detections of each image out."""

import torch
from detectron2.modeling.meta_arch.retinanet import RetinaNet, permute_to_N_HWA_K
from torch import Tensor, nn

from graphkd.export.boxes import best_of_classes, decode, finite
from graphkd.export.shapes import pick, top
from graphkd.export.suppression import NOTHING


class RetinaNetHead(nn.Module):
    """The dense head of a trained model with its own weights, for a whole batch at once.

    Args:
        model: RetinaNet in eval mode; its submodules are used, not copied.
    """

    def __init__(self, model: RetinaNet):
        super().__init__()
        self.head = model.head
        self.anchor_generator = model.anchor_generator
        self.features = list(model.head_in_features)
        self.transform = model.box2box_transform
        self.classes = model.num_classes
        self.candidates = model.test_topk_candidates
        self.overlap = model.test_nms_thresh
        self.score_floor = float(model.test_score_thresh)
        self.limit = model.max_detections_per_image

    def forward(self, features: dict[str, Tensor], size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detections of the resized pages; see `RCNNHead.forward`."""
        maps = [features[name] for name in self.features]
        anchors = [each.tensor for each in self.anchor_generator(maps)]
        logits, deltas = self.head(maps)
        parts = [
            self._level(permute_to_N_HWA_K(a, self.classes), permute_to_N_HWA_K(b, 4), own)
            for a, b, own in zip(logits, deltas, anchors, strict=True)
        ]
        boxes, scores, labels = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        own_class = labels[:, None] == torch.arange(self.classes, device=labels.device)[:, None]
        return best_of_classes(
            boxes[:, None].expand(-1, self.classes, -1, -1),
            torch.where(own_class, scores[:, None], NOTHING),
            overlap=self.overlap,
            floor=self.score_floor,
            limit=self.limit,
        )

    def _level(
        self, logits: Tensor, deltas: Tensor, anchors: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best (N, k) of one level: boxes, scores, classes."""
        scores, index = top(torch.sigmoid(logits).flatten(1), self.candidates)
        place = torch.div(index, self.classes, rounding_mode="floor")
        boxes = decode(self.transform, pick(deltas, place), anchors[place])
        usable = finite(boxes)
        boxes = torch.where(usable[..., None], boxes, 0.0)
        return boxes, torch.where(usable, scores, NOTHING), index % self.classes
