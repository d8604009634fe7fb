"""The view of Detectron2's two-stage detectors (GeneralizedRCNN with StandardROIHeads)."""

from collections.abc import Sequence

import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.roi_heads import CascadeROIHeads, StandardROIHeads
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from graphkd.distill.outputs import REGION_PARTS, Dense, Outputs, Regions, Targets
from graphkd.distill.taps import record
from graphkd.errors import UserError
from graphkd.views.pyramid import PyramidView, pooled_levels
from graphkd.views.view import view_for


@view_for("GeneralizedRCNN")
class RCNNView(PyramidView):
    """Faster R-CNN and similar detectors: FPN features, RPN maps, and sampled RoIs with pooled
    features and scores.
    """

    two_stage = True

    def __init__(self, model: nn.Module):
        """Checks that this view knows the model's modules.

        Raises:
            UserError: another meta architecture or another kind of RoI heads.
        """
        heads = getattr(model, "roi_heads", None)
        # A cascade calls its heads several times per step, and `record` expects one call each.
        known = isinstance(heads, StandardROIHeads) and not isinstance(heads, CascadeROIHeads)
        if not isinstance(model, GeneralizedRCNN) or not known:
            raise UserError(
                "distillation of regions needs GeneralizedRCNN with StandardROIHeads, not "
                f"{type(model).__name__} with {type(heads).__name__}"
            )
        super().__init__(model)

    @property
    def levels(self) -> tuple[str, ...]:
        return tuple(self.model.proposal_generator.in_features)

    @property
    def region_size(self) -> tuple[int, int]:
        return tuple(self.model.roi_heads.box_pooler.output_size)

    @property
    def anchors(self) -> dict[str, tuple]:
        rpn = self.model.proposal_generator
        return self.anchor_layout(rpn.anchor_generator, *rpn.box2box_transform.weights)

    @property
    def box_codes(self) -> tuple:
        predictor = self.model.roi_heads.box_predictor
        per_class = predictor.bbox_pred.out_features > len(predictor.box2box_transform.weights)
        return (per_class, *predictor.box2box_transform.weights)

    @property
    def num_classes(self) -> int:
        return self.model.roi_heads.num_classes

    def step(self, batch: list[dict]) -> tuple[dict[str, Tensor], Outputs, Targets]:
        model = self.model
        taps = {
            "backbone": model.backbone,
            "proposal_generator.rpn_head": model.proposal_generator.rpn_head,
            "proposal_generator.anchor_generator": model.proposal_generator.anchor_generator,
            "roi_heads": model.roi_heads,
            "roi_heads.box_pooler": model.roi_heads.box_pooler,
            "roi_heads.box_predictor": model.roi_heads.box_predictor,
        }
        with record({**taps, **self.body}) as tape:
            losses = model(batch)
        pooled, predicted = tape["roi_heads.box_pooler"], tape["roi_heads.box_predictor"]
        boxes = [b.tensor for b in pooled.args[1]]
        outputs = Outputs(
            features=self.features_of(tape["backbone"].output),
            dense=Dense(*map(tuple, tape["proposal_generator.rpn_head"].output)),
            regions=Regions(tuple(boxes), pooled.output, *predicted.output),
            stages=self.stages_of(tape),
        )
        images, _, _, instances = tape["roi_heads"].args
        anchors = tape["proposal_generator.anchor_generator"].output
        sampled, _ = tape["roi_heads"].output
        targets = Targets(
            boxes=tuple(i.gt_boxes.tensor for i in instances),
            classes=tuple(i.gt_classes for i in instances),
            image_sizes=tuple(images.image_sizes),
            strides=self.strides,
            num_classes=self.num_classes,
            region_labels=torch.cat([i.gt_classes for i in sampled]),
            region_boxes=torch.cat([_matched_boxes(i) for i in sampled]),
            region_levels=pooled_levels(model.roi_heads.box_pooler, boxes),
            anchors=tuple(a.tensor for a in anchors),
        )
        return losses, outputs, targets

    def observe(
        self, batch: list[dict], boxes: Sequence[Tensor] | None, needs: frozenset[str]
    ) -> Outputs:
        maps, stages = self.run_backbone(batch, needs)
        features = self.features_of(maps)
        dense = regions = None
        if "dense" in needs:
            rpn_head = self.model.proposal_generator.rpn_head
            dense = Dense(*map(tuple, rpn_head(list(features.values()))))
        if needs & REGION_PARTS:
            regions = self._regions(maps, boxes, predict="region_predictions" in needs)
        return Outputs(features, dense, regions, stages)

    def _regions(
        self, features: dict[str, Tensor], boxes: Sequence[Tensor], *, predict: bool
    ) -> Regions:
        heads = self.model.roi_heads
        maps = [features[level] for level in heads.box_in_features]
        pooled = heads.box_pooler(maps, [Boxes(b) for b in boxes])
        logits = deltas = None
        if predict:
            logits, deltas = heads.box_predictor(heads.box_head(pooled))
        return Regions(tuple(boxes), pooled, logits, deltas)


def _matched_boxes(sampled: Instances) -> Tensor:
    """The ground truth box of each sampled RoI, (R_i, 4); zeros on a page without objects, for
    which Detectron2 sets no boxes.
    """
    if sampled.has("gt_boxes"):
        return sampled.gt_boxes.tensor
    return torch.zeros_like(sampled.proposal_boxes.tensor)
