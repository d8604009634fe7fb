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
<<<<<<< HEAD
    """A detector whose `backbone` returns a pyramid of maps; `levels` are those its head reads.

    Maps of the body below the pyramid, `backbone.bottom_up`, are its stages, named by stride: c2 is
    that of stride 4, c5 that of stride 32.
    """
=======
    """A detector whose `backbone` returns a feature pyramid; its head reads `levels`."""
>>>>>>> a10f9b9 (Plain words: engine, model files, graphkd loss and views; comments with reasons)

    provides = frozenset({"features", "dense", "region_features", "region_predictions"})
    targets = frozenset({"boxes", "anchors"})

    def __init__(self, model: nn.Module):
        super().__init__(model)
        body = getattr(model.backbone, "bottom_up", None)
        # By the body's own names. A plain ViT has one map, below a pyramid without `bottom_up`.
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

<<<<<<< HEAD
    def _shapes(self) -> dict[str, ShapeSpec]:
        """Levels, then stages."""
        shapes = self.model.backbone.output_shape()
        found = {level: shapes[level] for level in self.levels}
        if self.stages:
            own = self.model.backbone.bottom_up.output_shape()
            found.update({name: own[key] for key, name in self.stages.items()})
        return found

    def run_backbone(
        self, batch: list[dict], needs: frozenset[str]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Runs the backbone on a raw batch, which the model normalises and pads itself.

        Returns:
            All its maps, and those of the body by name of stage, empty if not in `needs`.
        """
        with record(self.body if "stages" in needs else {}) as tape:
            maps = self.model.backbone(self.model.preprocess_image(batch).tensor)
        return maps, self.stages_of(tape)
=======
    def run_backbone(self, batch: list[dict]) -> dict[str, Tensor]:
        """All maps of the backbone for a raw batch; the model normalises and pads it."""
        return self.model.backbone(self.model.preprocess_image(batch).tensor)
>>>>>>> a10f9b9 (Plain words: engine, model files, graphkd loss and views; comments with reasons)

    def features_of(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Selects the maps of `levels` from those of the backbone."""
        return {level: maps[level] for level in self.levels}

    def stages_of(self, tape: Tape) -> dict[str, Tensor]:
        """The maps of the body by name of stage; empty if it was not recorded."""
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
    """Own name -> c2, c3 ... of every map of a body, finest first."""
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
