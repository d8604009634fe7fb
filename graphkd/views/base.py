"""What a view of a detector family must offer, and what holds for any of them: the FPN and the
levels of a pooler; no module names of a head.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.structures import Boxes
from torch import Tensor, nn

from graphkd.distill.outputs import Outputs, Targets


def anchor_layout(generator: DefaultAnchorGenerator) -> tuple:
    """Per level (stride, cell anchors as nested tuples)."""
    cells = [tuple(map(tuple, cell.tolist())) for cell in generator.cell_anchors]
    return (generator.offset, *zip(generator.strides, cells, strict=True))


class View(ABC):
    """Reads one unmodified Detectron2 model: its training step, or its answers at given boxes.

    Attributes:
        model: the detector; the view owns no parameters and changes nothing of it.
        two_stage: whether the family has a box head on RoI features.
    """

    two_stage: bool

    def __init__(self, model: nn.Module):
        self.model = model

    @abstractmethod
    def step(self, batch: list[dict]) -> tuple[dict[str, Tensor], Outputs, Targets]:
        """Runs one training forward of the untouched model.

        Args:
            batch: Detectron2's mapped data set dicts with `image` (3, H, W) and `instances`.

        Returns:
            The model's own loss dict, bit-identical to an unobserved step, what it said, and what
            the data said.
        """

    @abstractmethod
    def observe(
        self, batch: list[dict], boxes: Sequence[Tensor] | None, needs: frozenset[str]
    ) -> Outputs:
        """Runs just the parts of the model in `needs`, on the same images, in the model's present
        mode.

        Args:
            batch: Detectron2's dicts with `image`; ground truth is not read.
            boxes: per image (R_i, 4) in pixels of this model's input; None where no loss reads
                regions.
            needs: out of `losses.base.NEEDS`; parts outside it stay None and are not
                computed.
        """

    @property
    def channels(self) -> int:
        """Width of the FPN levels."""
        return self.model.backbone.output_shape()[self.levels[0]].channels

    @property
    @abstractmethod
    def levels(self) -> tuple[str, ...]:
        """Names of the FPN levels, fine to coarse."""

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels a cell, by name of the FPN level."""
        shapes = self.model.backbone.output_shape()
        return {level: shapes[level].stride for level in self.levels}

    @property
    @abstractmethod
    def region_size(self) -> tuple[int, int]:
        """(height, width) of pooled region features."""

    @property
    @abstractmethod
    def anchors(self) -> tuple:
        """What says where anchors are, per level its stride and cell anchors, and how deltas move
        them; equal for detectors whose anchors correspond one to one.
        """

    @property
    @abstractmethod
    def box_codes(self) -> tuple:
        """What says how the head's deltas become boxes; equal where equal deltas mean equal
        boxes.
        """

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """K, without background."""

    def run_backbone(self, batch: list[dict]) -> dict[str, Tensor]:
        """All maps of the backbone on a raw batch, which the model normalises and pads itself."""
        return self.model.backbone(self.model.preprocess_image(batch).tensor)

    def features_of(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """The maps of `levels` among those of the backbone."""
        return {level: maps[level] for level in self.levels}


def pooled_levels(pooler: ROIPooler, boxes: Sequence[Tensor]) -> Tensor:
    """(R,) index of the level, among the pooler's own, that each box (R_i, 4) is pooled from."""
    return assign_boxes_to_levels(
        [Boxes(each) for each in boxes],
        pooler.min_level,
        pooler.max_level,
        pooler.canonical_box_size,
        pooler.canonical_level,
    )
