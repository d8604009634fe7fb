"""Box detectors as exportable networks, from the pixels of pages to boxes."""

import torch
from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.meta_arch.retinanet import RetinaNet, permute_to_N_HWA_K
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import FastRCNNOutputLayers, StandardROIHeads
from torch import Tensor, nn

from graphkd.errors import UserError
from graphkd.export.box_ops import (
    NOTHING,
    best_of_classes,
    clip,
    decode,
    finite,
    nonempty,
    pick,
    suppress,
    to_page,
    top,
)
from graphkd.export.preprocess import Preprocess
from graphkd.modeling.dense import GFL, PicoGFL
from graphkd.modeling.dense.edges import expected_distances


class BoxNetwork(nn.Module):
    """A trained Detectron2 detector on plain tensors, for batches of pages of one size.

    Args:
        model: a model from `graphkd.modelfile.build_detector` in eval mode. Its submodules are
            used, not copied.
        cfg: its config; INPUT is read.
        for_openvino: resize by matrix products, see `Preprocess`.

    Raises:
        UserError: an unsupported kind of detector or input.
    """

    def __init__(self, model: nn.Module, cfg: CfgNode, *, for_openvino: bool = False):
        super().__init__()
        if cfg.INPUT.FORMAT not in ("RGB", "BGR"):
            raise UserError(f"INPUT.FORMAT {cfg.INPUT.FORMAT}: export supports RGB and BGR")
        if type(model) not in HEADS:  # not isinstance: a subclass may compute something else
            raise UserError(
                f"export supports {', '.join(kind.__name__ for kind in HEADS)}, not "
                f"{type(model).__name__}; --to safetensors works for any detector"
            )
        self.head = HEADS[type(model)](model)
        self.backbone = model.backbone
        self.preprocess = Preprocess(
            shortest=cfg.INPUT.MIN_SIZE_TEST,
            longest=cfg.INPUT.MAX_SIZE_TEST,
            flip=cfg.INPUT.FORMAT == "BGR",
            mean=model.pixel_mean,
            std=model.pixel_std,
            divisibility=model.backbone.size_divisibility,
            by_products=for_openvino,
        )
        self.score_floor: float = self.head.score_floor  # detections have higher scores

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Detects the regions of pages of one size.

        Args:
            images: (N, H, W, 3) uint8 RGB.

        Returns:
            boxes (M, 4) float32 x1 y1 x2 y2 in pixels of the page, scores (M,) float32, classes
            (M,) int64, image_index (M,) int64, sorted by image, then by falling score; M may be 0.
        """
        planes, page, size = self.preprocess(images)
        boxes, scores, classes = self.head(self.backbone(planes), size)
        return to_page(boxes, scores, classes, page=page, size=size)


class RCNNHead(nn.Module):
    """RPN and RoI heads of a trained model for a whole batch at once.

    Args:
        model: a GeneralizedRCNN in eval mode. Its submodules are used, not copied.

    Raises:
        UserError: an unsupported kind of proposal generator, RoI head or predictor.
    """

    def __init__(self, model: GeneralizedRCNN):
        super().__init__()
        rpn, heads = model.proposal_generator, model.roi_heads
        if type(rpn) is not RPN:
            raise UserError(f"export supports the proposal generator RPN, not {type(rpn).__name__}")
        if type(heads) is not StandardROIHeads or heads.mask_on or heads.keypoint_on:
            raise UserError(
                "export supports StandardROIHeads without masks and keypoints, not "
                f"{type(heads).__name__}; set MODEL.MASK_ON and MODEL.KEYPOINT_ON to False"
            )
        if type(heads.box_predictor) is not FastRCNNOutputLayers:
            raise UserError(
                f"export supports FastRCNNOutputLayers, not {type(heads.box_predictor).__name__}"
            )
        if not heads.box_pooler.level_poolers or not hasattr(
            heads.box_pooler.level_poolers[0], "sampling_ratio"
        ):
            raise UserError("MODEL.ROI_BOX_HEAD.POOLER_TYPE: export supports ROIAlign, ROIAlignV2")
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
        self.score_floor = float(self.predictor.test_score_thresh)
        count = self.predictor.test_topk_per_image
        self.limit = count if count >= 0 else 2**31 - 1  # in Detectron2, -1 means no limit

    def forward(self, features: dict[str, Tensor], size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detects regions on the resized pages.

        Args:
            features: backbone maps (N, C, h, w) by name.
            size: (2,) height and width of the pages without padding.

        Returns:
            boxes (N, D, 4), scores (N, D), classes (N, D), see `best_of_classes`.
        """
        boxes, there = self._propose([features[name] for name in self.rpn_features], size)
        flat = boxes.flatten(0, 1)
        logits, deltas = self._predict([features[name] for name in self.box_features], boxes)
        found = self.predictor.box2box_transform.apply_deltas(deltas, flat)
        probabilities = torch.softmax(logits, dim=-1)
        usable = finite(found) & finite(probabilities) & there.flatten()
        scores = torch.where(usable[:, None], probabilities[:, :-1], NOTHING)
        found = torch.where(usable[:, None], found, 0.0)
        images, slots = boxes.shape[0], boxes.shape[1]
        classes = self.predictor.num_classes
        scores = scores.view(images, slots, classes).transpose(1, 2)
        found = found.view(images, slots, -1, 4).transpose(1, 2)
        found = clip(found.expand(-1, classes, -1, -1), size)
        return best_of_classes(
            found,
            scores,
            overlap=self.predictor.test_nms_thresh,
            floor=self.score_floor,
            limit=self.limit,
        )

    def _propose(self, maps: list[Tensor], size: Tensor) -> tuple[Tensor, Tensor]:
        """The best proposals (N, P, 4), and whether each row is a proposal (N, P)."""
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
        # The level of a box, as in Detectron2's ROIPooler.
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


class DenseHead(nn.Module):
    """The dense head of a trained model for a whole batch at once.

    Args:
        model: a one-stage detector in eval mode. Its submodules are used, not copied.
    """

    def __init__(self, model: RetinaNet | GFL):
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
        """Detects regions on the resized pages, see `RCNNHead.forward`."""
        maps = [features[name] for name in self.features]
        anchors = [each.tensor for each in self.anchor_generator(maps)]
        levels = zip(*self.read(maps), anchors, strict=True)
        parts = [self._best(*level, size) for level in levels]
        boxes, scores, labels = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        own_class = labels[:, None] == torch.arange(self.classes, device=labels.device)[:, None]
        return best_of_classes(
            boxes[:, None].expand(-1, self.classes, -1, -1),
            torch.where(own_class, scores[:, None], NOTHING),
            overlap=self.overlap,
            floor=self.score_floor,
            limit=self.limit,
        )

    def read(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """By level: scores (N, A, K), and the values (N, A, D) from which boxes are computed."""
        raise NotImplementedError

    def boxes(self, rows: Tensor, anchors: Tensor, size: Tensor) -> Tensor:
        """Boxes (N, k, 4) from selected rows (N, k, D) and their anchors (N, k, 4)."""
        raise NotImplementedError

    def _best(
        self, scores: Tensor, rows: Tensor, anchors: Tensor, size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and classes of the best (N, k) of one level."""
        scores, index = top(scores.flatten(1), self.candidates)
        place = torch.div(index, self.classes, rounding_mode="floor")
        boxes = self.boxes(pick(rows, place), anchors[place], size)
        usable = finite(boxes)
        boxes = torch.where(usable[..., None], boxes, 0.0)
        return boxes, torch.where(usable, scores, NOTHING), index % self.classes


class RetinaNetHead(DenseHead):
    """RetinaNet's sigmoid scores and box deltas."""

    def read(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = self.head(maps)
        scores = [torch.sigmoid(permute_to_N_HWA_K(each, self.classes)) for each in logits]
        return scores, [permute_to_N_HWA_K(each, 4) for each in deltas]

    def boxes(self, rows: Tensor, anchors: Tensor, size: Tensor) -> Tensor:
        return decode(self.transform, rows, anchors)


class GFLDetections(DenseHead):
    """GFL's scores (for v2 times the quality) and distributions of box edges."""

    def __init__(self, model: GFL):
        super().__init__(model)
        self.bins = model.reg_max + 1

    def read(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, edges, quality = self.head(maps)
        scores = [torch.sigmoid(permute_to_N_HWA_K(each, self.classes)) for each in logits]
        if quality is not None:
            factors = [permute_to_N_HWA_K(each, 1) for each in quality]
            scores = [each * factor for each, factor in zip(scores, factors, strict=True)]
        return scores, [permute_to_N_HWA_K(each, 4 * self.bins) for each in edges]

    def boxes(self, rows: Tensor, anchors: Tensor, size: Tensor) -> Tensor:
        # Only for the selected cells, because a distribution has up to 17 numbers per edge.
        distances = expected_distances(rows.reshape(-1, 4, self.bins)).view(anchors.shape)
        return clip(decode(self.transform, distances, anchors), size)


def _put_back(rows: Tensor, place: Tensor) -> Tensor:
    return torch.zeros_like(rows).index_put((place,), rows)


# Another detector needs a head with `score_floor` and a `forward` like that of `RCNNHead`.
HEADS: dict[type[nn.Module], type[nn.Module]] = {
    GeneralizedRCNN: RCNNHead,
    RetinaNet: RetinaNetHead,
    GFL: GFLDetections,
    PicoGFL: GFLDetections,
}
