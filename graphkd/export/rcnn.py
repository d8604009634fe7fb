"""Faster R-CNN as an exportable head: features in, detections of each image out."""

import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import FastRCNNOutputLayers, StandardROIHeads
from torch import Tensor, nn

from graphkd.errors import UserError
from graphkd.export.boxes import best_of_classes, clip, decode, finite, nonempty
from graphkd.export.shapes import pick, top
from graphkd.export.suppression import NOTHING, suppress


class RCNNHead(nn.Module):
    """RPN and RoI heads of a trained model with its own weights, for a whole batch at once.

    Args:
        model: GeneralizedRCNN in eval mode; its submodules are used, not copied.

    Raises:
        UserError: a kind of proposal generator, RoI head or predictor that is not known here.
    """

    def __init__(self, model: GeneralizedRCNN):
        super().__init__()
        rpn, heads = model.proposal_generator, model.roi_heads
        if type(rpn) is not RPN:
            raise UserError(f"export knows the proposal generator RPN, not {type(rpn).__name__}")
        if type(heads) is not StandardROIHeads or heads.mask_on or heads.keypoint_on:
            raise UserError(
                "export knows StandardROIHeads without masks and keypoints, not "
                f"{type(heads).__name__}; set MODEL.MASK_ON and MODEL.KEYPOINT_ON to False"
            )
        if type(heads.box_predictor) is not FastRCNNOutputLayers:
            raise UserError(
                f"export knows FastRCNNOutputLayers, not {type(heads.box_predictor).__name__}"
            )
        if not heads.box_pooler.level_poolers or not hasattr(
            heads.box_pooler.level_poolers[0], "sampling_ratio"
        ):
            raise UserError("export knows MODEL.ROI_BOX_HEAD.POOLER_TYPE ROIAlign and ROIAlignV2")
        self.rpn_head = rpn.rpn_head
        self.anchor_generator = rpn.anchor_generator
        self.pooler = heads.box_pooler
        self.box_head = heads.box_head
        self.predictor = heads.box_predictor
        self.rpn_features = list(rpn.in_features)
        self.box_features = list(heads.box_in_features)
        self.rpn_transform = rpn.box2box_transform
        self.rpn_overlap = rpn.nms_thresh
        self.rpn_least = float(rpn.min_box_size)
        self.candidates, self.proposals = rpn.pre_nms_topk[False], rpn.post_nms_topk[False]

    @property
    def score_floor(self) -> float:
        """Scores of detections are above this."""
        return float(self.predictor.test_score_thresh)

    def forward(self, features: dict[str, Tensor], size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detections of the resized pages.

        Args:
            features: backbone maps (N, C, h, w).
            size: (2,) height and width of the pages without padding.

        Returns:
            boxes (N, D, 4), scores (N, D), classes (N, D), as `best_of_classes` gives them.
        """
        boxes, there = self._propose([features[name] for name in self.rpn_features], size)
        flat = boxes.flatten(0, 1)
        logits, deltas = self._predict([features[name] for name in self.box_features], boxes)
        found = self.predictor.box2box_transform.apply_deltas(deltas, flat)
        probabilities = torch.softmax(logits, dim=-1)
        usable = finite(found) & finite(probabilities) & there.flatten()
        scores = torch.where(usable[:, None], probabilities[:, :-1], NOTHING)
        found = torch.where(usable[:, None], found, 0.0)
        images, slots = as_pair(boxes)
        classes = self.predictor.num_classes
        scores = scores.view(images, slots, classes).transpose(1, 2)
        found = found.view(images, slots, -1, 4).transpose(1, 2)
        found = clip(found.expand(-1, classes, -1, -1), size)
        return best_of_classes(
            found,
            scores,
            overlap=self.predictor.test_nms_thresh,
            floor=self.score_floor,
            limit=_limit(self.predictor.test_topk_per_image),
        )

    def _propose(self, maps: list[Tensor], size: Tensor) -> tuple[Tensor, Tensor]:
        """The best proposals: (N, P, 4), and whether each is one (N, P)."""
        anchors = [each.tensor for each in self.anchor_generator(maps)]
        logits, deltas = self.rpn_head(maps)
        all_boxes, all_scores = [], []
        for level, own in enumerate(anchors):
            scores, index = top(logits[level].permute(0, 2, 3, 1).flatten(1), self.candidates)
            moves = deltas[level].permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4))
            boxes = decode(self.rpn_transform, pick(moves, index), own[index])
            usable = finite(boxes) & (scores.abs() < -NOTHING / 2)
            boxes = clip(torch.where(usable[..., None], boxes, 0.0), size)
            scores = torch.where(usable & nonempty(boxes, self.rpn_least), scores, NOTHING)
            all_boxes.append(boxes)
            all_scores.append(suppress(boxes, scores, overlap=self.rpn_overlap, floor=NOTHING / 2))
        scores, index = top(torch.cat(all_scores, 1), self.proposals)
        there = scores > NOTHING / 2
        return torch.where(there[..., None], pick(torch.cat(all_boxes, 1), index), 0.0), there

    def _predict(self, maps: list[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (N * P, K + 1) and deltas of the boxes (N, P, 4)."""
        pooler = self.pooler
        flat = boxes.flatten(0, 1)
        image = torch.arange(boxes.shape[0], device=boxes.device)[:, None]
        image = image.expand(-1, boxes.shape[1]).reshape(-1, 1)
        rows = torch.cat([image.to(flat.dtype), flat], dim=1)
        # The rule of Detectron2's ROIPooler.
        side = torch.sqrt((flat[:, 2] - flat[:, 0]) * (flat[:, 3] - flat[:, 1]))
        level = torch.floor(
            pooler.canonical_level + torch.log2(side / pooler.canonical_box_size + 1e-8)
        ).clamp(pooler.min_level, pooler.max_level)
        pooled, places = [], []
        for index, align in enumerate(pooler.level_poolers):
            place = torch.nonzero(level == pooler.min_level + index)[:, 0]
            pooled.append(align(maps[index].float(), rows[place]))
            places.append(place)
        place = torch.cat(places)
        logits, deltas = self.predictor(self.box_head(torch.cat(pooled)))
        return _put_back(logits, place), _put_back(deltas, place)


def as_pair(boxes: Tensor) -> tuple:
    """The first two sizes of a tensor."""
    return boxes.shape[0], boxes.shape[1]


def _put_back(rows: Tensor, place: Tensor) -> Tensor:
    return torch.zeros_like(rows).index_put((place,), rows)


def _limit(count: int) -> int:
    """Detectron2 takes a negative number for no limit."""
    return count if count >= 0 else 2**31 - 1
