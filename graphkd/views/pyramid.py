"""The base class of views of detectors with a feature pyramid."""

from collections.abc import Sequence

from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.structures import Boxes
from torch import Tensor, nn

from graphkd.distill.taps import Tape, record
from graphkd.views.view import View


class PyramidView(View):
    """A detector whose `backbone` returns a feature pyramid; its head reads `levels`.

    The maps of the body below the pyramid (`backbone.bottom_up`) are its stages. They are named by
    stride: c2 has stride 4, c5 has stride 32.
    """

    provides = frozenset({"features", "dense", "region_features", "region_predictions"})
    targets = frozenset({"boxes", "anchors"})

    def __init__(self, model: nn.Module):
        super().__init__(model)
        body = getattr(model.backbone, "bottom_up", None)
        # Keys are the body's own names. A plain ViT has a single map and no `bottom_up`.
        self.stages = {} if body is None else _stage_names(body.output_shape())
        if self.stages:
            self.provides = self.provides | {"stages"}
            self.body = {"backbone.bottom_up": body}
        else:
            self.body = {}

    @property
    def channels(self) -> dict[str, int]:
        return {name: shape.channels for name, shape in self._shapes().items()}

    @property
    def strides(self) -> dict[str, int]:
        return {name: shape.stride for name, shape in self._shapes().items()}

    def _shapes(self) -> dict[str, ShapeSpec]:
        """Width and stride of every level, then of every stage."""
        shapes = self.model.backbone.output_shape()
        found = {level: shapes[level] for level in self.levels}
        if self.stages:
            own = self.model.backbone.bottom_up.output_shape()
            found.update({name: own[key] for key, name in self.stages.items()})
        return found

    def run_backbone(
        self, batch: list[dict], needs: frozenset[str]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Runs the backbone on a raw batch, which the model normalises and pads.

        Returns:
            All maps of the backbone, and the stages by name (empty if not in `needs`).
        """
        with record(self.body if "stages" in needs else {}) as tape:
            maps = self.model.backbone(self.model.preprocess_image(batch).tensor)
        return maps, self.stages_of(tape)

    def features_of(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Selects the maps of `levels` from those of the backbone."""
        return {level: maps[level] for level in self.levels}

    def stages_of(self, tape: Tape) -> dict[str, Tensor]:
        """The recorded stages by name; empty if the body was not recorded."""
        if "backbone.bottom_up" not in tape.calls:
            return {}
        maps = tape["backbone.bottom_up"].output
        return {name: maps[key] for key, name in self.stages.items()}

    def anchor_layout(self, generator: DefaultAnchorGenerator, *code: float) -> dict[str, tuple]:
        """By level: offset, stride, cell anchors, and the factors `code` of the box deltas."""
        cells = [tuple(map(tuple, cell.tolist())) for cell in generator.cell_anchors]
        rows = zip(self.levels, generator.strides, cells, strict=True)
        return {level: (generator.offset, stride, own, *code) for level, stride, own in rows}


def _stage_names(shapes: dict[str, ShapeSpec]) -> dict[str, str]:
    """The body's own name -> c2, c3 ... for every map of a body, finest first."""
    return {
        key: f"c{shape.stride.bit_length() - 1}"
        for key, shape in sorted(shapes.items(), key=lambda item: item[1].stride)
    }


def pooled_levels(pooler: ROIPooler, boxes: Sequence[Tensor]) -> Tensor:
    """(R,) index, among the pooler's levels, of the level that each box (R_i, 4) is pooled from."""
    return assign_boxes_to_levels(
        [Boxes(each) for each in boxes],
        pooler.min_level,
        pooler.max_level,
        pooler.canonical_box_size,
        pooler.canonical_level,
    )
