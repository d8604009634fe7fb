"""The views of one-stage detectors, RetinaNet and GFL, with regions made from predicted boxes.

A one-stage detector samples no regions, so a graph needs a stand-in for them. All of it is [ours]:

* Regions of a page are the student's own best predicted boxes, and its ground truth as Detectron2's
  RoI heads append it in training. Foreground overlaps an object by IoU >= 0.5, as there.
* Both networks pool them from their FPN by RoIAlign, 7 x 7, from the levels up to stride 32.
* The class logits of a region are those of the anchor that overlaps it most. Background gets the
  logit 0, which makes a softmax of independent sigmoid scores: class k has the odds exp(logit k),
  background the odds 1, and with a single class the softmax is the sigmoid.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from detectron2.modeling.meta_arch.retinanet import RetinaNet, permute_to_N_HWA_K
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator.proposal_utils import (
    add_ground_truth_to_proposals,
    find_top_rpn_proposals,
)
from detectron2.structures import Boxes, pairwise_iou
from torch import Tensor, nn

from graphkd.distill.outputs import REGION_PARTS, Assignment, Dense, Outputs, Regions, Targets
from graphkd.distill.taps import Tape, record
from graphkd.errors import UserError
from graphkd.modeling.dense.edges import by_edge, expected_distances
from graphkd.modeling.dense.gfl import GFL
from graphkd.views.pyramid import PyramidView, pooled_levels
from graphkd.views.view import view_for

BOXES_AN_IMAGE = 64
CANDIDATES_A_LEVEL = 500
MAX_BOX_OVERLAP = 0.7
MIN_FOREGROUND_OVERLAP = 0.5
REGION_SIZE = (7, 7)
COARSEST_POOLED_STRIDE = 32


@view_for("RetinaNet")
class DenseView(PyramidView):
    """RetinaNet: FPN features, the dense head's maps, and regions made from the predicted boxes.

    `Regions.deltas` stays None: the head's deltas belong to anchors, not to regions.
    """

    two_stage = False
    region_size = REGION_SIZE
    kinds: tuple[type[nn.Module], ...] = (RetinaNet,)
    tapped: tuple[str, ...] = ("backbone", "head", "anchor_generator")

    def __init__(self, model: nn.Module):
        """Checks that the model is one whose modules this view knows.

        Raises:
            UserError: another meta architecture, or no FPN level that regions can be pooled from.
        """
        if not isinstance(model, self.kinds):
            known = " and ".join(kind.__name__ for kind in self.kinds)
            raise UserError(f"this view knows {known}, not {type(model).__name__}")
        super().__init__(model)
        self.pooled_levels = [
            level for level in self.levels if self.strides[level] <= COARSEST_POOLED_STRIDE
        ]
        if not self.pooled_levels:
            raise UserError(
                f"the head's IN_FEATURES have no level of stride {COARSEST_POOLED_STRIDE} or "
                f"finer, only {', '.join(self.levels)}; regions are pooled from such levels"
            )
        # Without parameters, and no child of the model: nothing of it is trained or saved.
        self.pooler = ROIPooler(
            output_size=REGION_SIZE,
            scales=[1 / self.strides[level] for level in self.pooled_levels],
            sampling_ratio=0,
            pooler_type="ROIAlignV2",
        )

    @property
    def levels(self) -> tuple[str, ...]:
        return tuple(self.model.head_in_features)

    @property
    def anchors(self) -> dict[str, tuple]:
        return self.anchor_layout(self.model.anchor_generator)

    @property
    def box_codes(self) -> tuple:
        return tuple(self.model.box2box_transform.weights)

    @property
    def num_classes(self) -> int:
        return self.model.num_classes

    def read_head(self, output: Any) -> Dense:
        """What the head gave, as `Dense`."""
        return Dense(*map(tuple, output))

    def _named(self, dense: Dense) -> Dense:
        """`dense` with the names of the levels and the way from deltas to boxes."""
        decode = self.model.box2box_transform.apply_deltas
        return replace(dense, levels=self.levels, decode=decode)

    def assignment(self, tape: Tape) -> Assignment | None:
        """Which object every anchor was trained on; None for a detector that does not say."""
        return None

    def step(self, batch: list[dict]) -> tuple[dict[str, Tensor], Outputs, Targets]:
        model = self.model
        taps = {name: getattr(model, name) for name in self.tapped}
        with record({**taps, **self.body}) as tape:
            losses = model(batch)
        maps = tape["backbone"].output
        dense = self._named(self.read_head(tape["head"].output))
        anchors = tuple(each.tensor for each in tape["anchor_generator"].output)
        instances = [item["instances"].to(model.device) for item in batch]
        truth = tuple(each.gt_boxes.tensor for each in instances)
        classes = tuple(each.gt_classes for each in instances)
        image_sizes = tuple(tuple(item["image"].shape[-2:]) for item in batch)
        outputs = Outputs(features=self.features_of(maps), dense=dense, stages=self.stages_of(tape))
        targets = Targets(
            boxes=truth,
            classes=classes,
            image_sizes=image_sizes,
            strides=self.strides,
            num_classes=self.num_classes,
            anchors=anchors,
            assignment=self.assignment(tape),
        )
        # Boxes and pooling took a tenth of a small step, for nothing where no loss reads regions.
        if self.wanted is None or self.wanted & REGION_PARTS:
            boxes = self._region_boxes(dense, anchors, image_sizes, truth)
            matches = [
                label_boxes(*each, background=self.num_classes)
                for each in zip(boxes, truth, classes, strict=True)
            ]
            regions = self._regions(maps, boxes, dense.logits, anchors)
            outputs = replace(outputs, regions=regions)
            targets = replace(
                targets,
                region_labels=torch.cat([labels for labels, _ in matches]),
                region_boxes=torch.cat([matched for _, matched in matches]),
                region_levels=pooled_levels(self.pooler, boxes),
            )
        return losses, outputs, targets

    def observe(
        self, batch: list[dict], boxes: Sequence[Tensor] | None, needs: frozenset[str]
    ) -> Outputs:
        model = self.model
        maps, stages = self.run_backbone(batch, needs)
        features = self.features_of(maps)
        predict = "region_predictions" in needs
        dense = regions = None
        if predict or "dense" in needs:
            dense = self._named(self.read_head(model.head(list(features.values()))))
        if predict:
            anchors = [each.tensor for each in model.anchor_generator(list(features.values()))]
            regions = self._regions(maps, boxes, dense.logits, anchors)
        elif "region_features" in needs:
            regions = Regions(tuple(boxes), self._pool(maps, boxes))
        kept = features if "features" in needs else {}
        return Outputs(kept, dense if "dense" in needs else None, regions, stages)

    def _regions(
        self,
        features: dict[str, Tensor],
        boxes: Sequence[Tensor],
        logits: Sequence[Tensor],
        anchors: Sequence[Tensor],
    ) -> Regions:
        scores = region_logits(logits, anchors, boxes, num_classes=self.num_classes)
        return Regions(tuple(boxes), self._pool(features, boxes), scores)

    def _pool(self, features: dict[str, Tensor], boxes: Sequence[Tensor]) -> Tensor:
        # RoIAlign casts boxes to the maps' type, and 16 bits move a corner by pixels.
        maps = [features[level].float() for level in self.pooled_levels]
        return self.pooler(maps, [Boxes(each) for each in boxes])

    def _best_scores(self, dense: Dense) -> list[Tensor]:
        """Per level (N, A), by which predicted boxes are sorted."""
        return [permute_to_N_HWA_K(e, self.num_classes).float().amax(2) for e in dense.logits]

    @torch.no_grad()
    def _region_boxes(
        self,
        dense: Dense,
        anchors: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
        truth: Sequence[Tensor],
    ) -> list[Tensor]:
        """Per image (R_i, 4): its best predicted boxes, best first, then its ground truth."""
        images = len(image_sizes)
        scores, decoded = [], []
        for best, deltas, own in zip(self._best_scores(dense), dense.deltas, anchors, strict=True):
            scores.append(best)
            moves = permute_to_N_HWA_K(deltas, 4).float().reshape(-1, 4)
            boxes = self.model.box2box_transform.apply_deltas(moves, own.repeat(images, 1))
            decoded.append(boxes.reshape(images, -1, 4))
        proposals = find_top_rpn_proposals(
            decoded,
            scores,
            list(image_sizes),
            nms_thresh=MAX_BOX_OVERLAP,
            pre_nms_topk=CANDIDATES_A_LEVEL,
            post_nms_topk=BOXES_AN_IMAGE,
            min_box_size=0.0,
            training=False,  # true would raise on a diverged student before its losses tell
        )
        objects = [Boxes(boxes) for boxes in truth]
        with_truth = add_ground_truth_to_proposals(objects, proposals)
        return [each.proposal_boxes.tensor for each in with_truth]


@view_for("GFL", "PicoGFL")
class EdgeView(DenseView):
    """GFL: as RetinaNet, with the distributions of the box edges and what ATSS decided.

    `Dense.deltas` holds the expected distances left, top, right, bottom in strides. `Dense.logits`
    stays raw for v2, too, whose boxes are sorted by their joint score.
    """

    targets = DenseView.targets | {"assignment"}
    kinds = (GFL,)
    tapped = (*DenseView.tapped, "assigner")

    @property
    def box_codes(self) -> tuple:
        return ("distances in strides",)

    @property
    def bins(self) -> int:
        return self.model.reg_max

    def read_head(self, output: Any) -> Dense:
        logits, edges, quality = output
        return Dense(
            logits=tuple(logits),
            deltas=tuple(_distances(each) for each in edges),
            distributions=tuple(edges),
            quality=None if quality is None else tuple(quality),
        )

    def assignment(self, tape: Tape) -> Assignment:
        return tape["assigner"].output

    def _best_scores(self, dense: Dense) -> list[Tensor]:
        scores = super()._best_scores(dense)
        if dense.quality is None:
            return scores
        return [
            each.sigmoid() * quality.float().flatten(1)
            for each, quality in zip(scores, dense.quality, strict=True)
        ]


def _distances(edges: Tensor) -> Tensor:
    """Expected distances (N, 4, H, W) of edge logits (N, 4 * (n + 1), H, W)."""
    return expected_distances(by_edge(edges.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


def label_boxes(
    boxes: Tensor, truth: Tensor, classes: Tensor, *, background: int
) -> tuple[Tensor, Tensor]:
    """The object every box of one image shows.

    Args:
        boxes: (R, 4) x1 y1 x2 y2.
        truth: (G, 4) ground truth.
        classes: (G,) int64.
        background: the label of a box that overlaps no object by IoU >= 0.5.

    Returns:
        (R,) int64 labels, and (R, 4) the ground truth of largest overlap; all background and zeros
        for G = 0.
    """
    if not len(truth):
        return classes.new_full((len(boxes),), background), torch.zeros_like(boxes)
    overlap, index = pairwise_iou(Boxes(truth), Boxes(boxes)).max(0)
    labels = torch.where(overlap >= MIN_FOREGROUND_OVERLAP, classes[index], background)
    return labels, truth[index]


def region_logits(
    logits: Sequence[Tensor],
    anchors: Sequence[Tensor],
    boxes: Sequence[Tensor],
    *,
    num_classes: int,
) -> Tensor:
    """Class logits of the anchor that overlaps a box most, and 0 for background.

    Args:
        logits: per level (N, A * K, H, W), of independent sigmoids.
        anchors: per level (H * W * A, 4).
        boxes: per image (R_i, 4).
        num_classes: K.

    Returns:
        (R, K + 1) float32, background last: a softmax gives class k the odds of its sigmoid score
        against background. Empty for no boxes.
    """
    rows = torch.cat([permute_to_N_HWA_K(each, num_classes) for each in logits], 1).float()
    places = Boxes(torch.cat(list(anchors)))
    picked = [
        rows[image, pairwise_iou(Boxes(own), places).argmax(1)] for image, own in enumerate(boxes)
    ]
    classes = torch.cat(picked)
    return torch.cat([classes, classes.new_zeros(len(classes), 1)], 1)
