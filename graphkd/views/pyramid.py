"""What the views of detectors with a feature pyramid share: maps by level and anchors by level."""

from collections.abc import Sequence

from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.structures import Boxes
from torch import Tensor

from graphkd.views.view import View


class PyramidView(View):
    """A detector whose `backbone` returns a pyramid of maps; `levels` are those its head reads."""

    provides = frozenset({"features", "dense", "region_features", "region_predictions"})
    targets = frozenset({"boxes", "anchors"})

    @property
    def channels(self) -> dict[str, int]:
        shapes = self.model.backbone.output_shape()
        return {level: shapes[level].channels for level in self.levels}

    @property
    def strides(self) -> dict[str, int]:
        shapes = self.model.backbone.output_shape()
        return {level: shapes[level].stride for level in self.levels}

    def run_backbone(self, batch: list[dict]) -> dict[str, Tensor]:
        """All maps of the backbone on a raw batch, which the model normalises and pads itself."""
        return self.model.backbone(self.model.preprocess_image(batch).tensor)

    def features_of(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """The maps of `levels` among those of the backbone."""
        return {level: maps[level] for level in self.levels}

    def anchor_layout(self, generator: DefaultAnchorGenerator, *code: float) -> dict[str, tuple]:
        """Per level offset, stride, cell anchors and the factors `code` of the box deltas."""
        cells = [tuple(map(tuple, cell.tolist())) for cell in generator.cell_anchors]
        rows = zip(self.levels, generator.strides, cells, strict=True)
        return {level: (generator.offset, stride, own, *code) for level, stride, own in rows}


def pooled_levels(pooler: ROIPooler, boxes: Sequence[Tensor]) -> Tensor:
    """(R,) index of the level, among the pooler's own, that each box (R_i, 4) is pooled from."""
    return assign_boxes_to_levels(
        [Boxes(each) for each in boxes],
        pooler.min_level,
        pooler.max_level,
        pooler.canonical_box_size,
        pooler.canonical_level,
    )
