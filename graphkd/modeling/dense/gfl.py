"""GFL v1 and v2: a dense detector that predicts every box edge as a distribution."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.meta_arch.dense_detector import DenseDetector, permute_to_N_HWA_K
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor

from graphkd.errors import UserError
from graphkd.modeling.dense.atss import ATSS
from graphkd.modeling.dense.edges import ANCHOR_SIDE, EdgeTransform, by_edge, expected_distances
from graphkd.modeling.dense.gfl_heads import EdgeHead, GFLHead
from graphkd.modeling.dense.gfl_losses import CLAMP, IOU_LOSSES, Rows, gfl_losses
from graphkd.modeling.voting import suppressed


def add_gfl_config(cfg: CfgNode) -> None:
    """Adds MODEL.GFL with its defaults, those of the paper, to `cfg`; GFL and PicoGFL read it.

    And MODEL.CSP, for the backbone `build_csp_pan_backbone`.
    """
    # n, s, m, l or x.
    cfg.MODEL.CSP = CfgNode({"SIZE": "n"})
    cfg.MODEL.GFL = node = CfgNode()
    node.NUM_CLASSES = 80
    node.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]
    # Convolutions of each tower; PicoGFL has its own, shared by classes and boxes.
    node.NUM_CONVS = 4
    # Last bin of the box edges' distributions, in strides: no box reaches further from a cell.
    node.REG_MAX = 16
    # True is GFL v2: the class scores are multiplied by a quality read from the distributions.
    node.QUALITY = False
    # giou or ciou.
    node.IOU_LOSS = "giou"
    node.BOX_LOSS_WEIGHT = 2.0
    node.DFL_LOSS_WEIGHT = 0.25
    # Nearest anchors of each level that ATSS looks at.
    node.ATSS_CANDIDATES = 9
    node.SCORE_THRESH_TEST = 0.05
    node.TOPK_CANDIDATES_TEST = 1000
    node.NMS_THRESH_TEST = 0.6


@META_ARCH_REGISTRY.register()
class GFL(DenseDetector):
    """Generalized Focal Loss, v1 and v2, on one square anchor a cell.

    Source: Li et al., Generalized Focal Loss (2020) and Generalized Focal Loss V2 (2021).
    Differs from the code of the papers: both divisors of the losses are at least 1, and anchors
    count as valid on the unpadded page.

    Attributes:
        anchor_generator: one square anchor a cell, of 8 strides, centred on (i s, j s).
        box2box_transform: from edge distances to boxes.
        assigner: called once a training step.
        reg_max: n, the last bin of the distributions.
    """

    head_class: type[EdgeHead] = GFLHead

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: EdgeHead,
        head_in_features: Sequence[str],
        strides: Sequence[int],
        num_classes: int,
        reg_max: int,
        candidates: int,
        iou_loss: str,
        box_weight: float,
        dfl_weight: float,
        score_thresh: float,
        topk_candidates: int,
        nms_thresh: float,
        max_detections: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ):
        """Takes the parts; `from_config` says which key each is."""
        super().__init__(
            backbone, head, list(head_in_features), pixel_mean=pixel_mean, pixel_std=pixel_std
        )
        self.num_classes, self.reg_max = num_classes, reg_max
        self.anchor_generator = DefaultAnchorGenerator(
            sizes=[[ANCHOR_SIDE * stride] for stride in strides],
            aspect_ratios=[[1.0]],
            strides=list(strides),
            offset=0.0,
        )
        self.box2box_transform = EdgeTransform()
        self.assigner = ATSS(candidates)
        self.loss_options = {
            "iou_loss": iou_loss,
            "box_weight": box_weight,
            "dfl_weight": dfl_weight,
        }
        self.test_score_thresh = score_thresh
        self.test_topk_candidates = topk_candidates
        self.test_nms_thresh = nms_thresh
        self.max_detections_per_image = max_detections

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The arguments for a config.

        Raises:
            UserError: levels of unlike width, bins that do not reach far enough, or an unknown
                IOU_LOSS.
        """
        node, backbone = cfg.MODEL.GFL, build_backbone(cfg)
        shapes = [backbone.output_shape()[level] for level in node.IN_FEATURES]
        strides = [shape.stride for shape in shapes]
        if node.IOU_LOSS not in IOU_LOSSES:
            raise UserError(f"MODEL.GFL.IOU_LOSS is {node.IOU_LOSS}; choose giou or ciou")
        check_reach(cfg, max(strides))
        head = cls.head_class(
            channels=shapes[0].channels,
            num_convs=node.NUM_CONVS,
            num_classes=node.NUM_CLASSES,
            num_levels=len(shapes),
            reg_max=node.REG_MAX,
            quality=node.QUALITY,
        )
        return {
            "backbone": backbone,
            "head": head,
            "head_in_features": node.IN_FEATURES,
            "strides": strides,
            "num_classes": node.NUM_CLASSES,
            "reg_max": node.REG_MAX,
            "candidates": node.ATSS_CANDIDATES,
            "iou_loss": node.IOU_LOSS,
            "box_weight": node.BOX_LOSS_WEIGHT,
            "dfl_weight": node.DFL_LOSS_WEIGHT,
            "score_thresh": node.SCORE_THRESH_TEST,
            "topk_candidates": node.TOPK_CANDIDATES_TEST,
            "nms_thresh": node.NMS_THRESH_TEST,
            "max_detections": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def forward(self, batched_inputs: list[dict]) -> Any:
        """As Detectron2's dense detectors. In training, anchors in the upright boxes of the
        `polygons` of an item that are marked in its `ignore` enter no loss.
        """
        if not self.training:
            return super().forward(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        maps = self.backbone(images.tensor)
        features = [maps[level] for level in self.head_in_features]
        instances = [item["instances"].to(self.device) for item in batched_inputs]
        ignored = [_ignored_boxes(item).to(self.device) for item in batched_inputs]
        return self.forward_training(images, features, self.head(features), instances, ignored)

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: tuple[list[Tensor], list[Tensor], list[Tensor] | None],
        gt_instances: list[Instances],
        ignored: list[Tensor],
    ) -> dict[str, Tensor]:
        """The losses of `gfl_losses`; `ignored` holds per image (I_i, 4) boxes without loss."""
        logits, edges, quality = predictions
        anchors = [each.tensor for each in self.anchor_generator(features)]
        boxes = [each.gt_boxes.tensor for each in gt_instances]
        assignment = self.assigner(anchors, boxes, images.image_sizes, ignored=ignored)
        _log_assignment(assignment.owners, boxes)
        rows = Rows(
            logits=_rows(logits, self.num_classes),
            edges=_rows(edges, 4 * (self.reg_max + 1)),
            quality=None if quality is None else _rows(quality, 1),
            anchors=torch.cat(anchors),
        )
        classes = [each.gt_classes for each in gt_instances]
        return gfl_losses(rows, assignment, boxes, classes, **self.loss_options)

    def forward_inference(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: tuple[list[Tensor], list[Tensor], list[Tensor] | None],
    ) -> list[Instances]:
        """Per image its best boxes after class-wise suppression, cut off at the page."""
        logits, edges, quality = predictions
        anchors = self.anchor_generator(features)
        scores = [permute_to_N_HWA_K(each, self.num_classes).float().sigmoid() for each in logits]
        if quality is not None:
            factors = [permute_to_N_HWA_K(each, 1) for each in quality]
            scores = [each * factor for each, factor in zip(scores, factors, strict=True)]
        width = 4 * (self.reg_max + 1)
        distances = [expected_distances(by_edge(permute_to_N_HWA_K(e, width))) for e in edges]
        return [
            self.inference_single_image(
                anchors, [e[index] for e in scores], [e[index] for e in distances], size
            )
            for index, size in enumerate(images.image_sizes)
        ]

    def inference_single_image(
        self,
        anchors: list[Boxes],
        scores: list[Tensor],
        distances: list[Tensor],
        image_size: tuple[int, int],
    ) -> Instances:
        """As RetinaNet's: per level scores (A, K) and distances (A, 4) to the boxes of one page."""
        return suppressed(self, anchors, scores, distances, image_size, voting=False)


def check_reach(cfg: CfgNode, stride: int) -> None:
    """Checks that a box as wide as the longest page can be predicted on the coarsest level.

    Targets end 0.1 strides below the last bin, and the point of the cell may be a stride away from
    the middle of the box.

    Raises:
        UserError: the last bin is too near.
    """
    bins, longest = cfg.MODEL.GFL.REG_MAX, max(cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TEST)
    if "LINES" in cfg.INPUT:  # text detection has sizes of its own
        longest = max(cfg.INPUT.LINES.SIZE, cfg.INPUT.LINES.CROP)
    reach = (bins - CLAMP - 1) * stride
    if reach < longest / 2:
        least = math.ceil(longest / 2 / stride + CLAMP + 1)
        raise UserError(
            f"MODEL.GFL.REG_MAX {bins} at stride {stride} reaches {reach:.0f} px from a cell, but "
            f"half the longest side of INPUT is {longest / 2:.0f} px; set it to {least} or more, "
            "or make pages smaller"
        )


def _ignored_boxes(item: dict) -> Tensor:
    """(I, 4) upright boxes of the ignored polygons of a mapped page."""
    polygons = zip(item.get("polygons", ()), item.get("ignore", ()), strict=True)
    boxes = [[*each.min(0), *each.max(0)] for each, ignore in polygons if ignore]
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def _rows(maps: Sequence[Tensor], width: int) -> Tensor:
    return torch.cat([permute_to_N_HWA_K(each, width) for each in maps], 1)


def _log_assignment(owners: Sequence[Tensor], boxes: Sequence[Tensor]) -> None:
    """Writes to the run's log how many anchors are trained on, and how many boxes have none."""
    positives = missed = 0
    for own, objects in zip(owners, boxes, strict=True):
        taken = own[own >= 0]
        positives += len(taken)
        missed += len(objects) - len(taken.unique())
    storage = get_event_storage()
    storage.put_scalar("gfl/positives", positives / len(owners))
    storage.put_scalar("gfl/boxes_without_anchor", missed / len(owners))
