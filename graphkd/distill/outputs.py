"""What detectors say and what the data said, as frozen dataclasses; no hooks, no cfg, no module
paths.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Dense:
    """Head maps of one detector, one entry an FPN level, fine to coarse (RPN, or a one-stage head).

    Attributes:
        logits: per level (N, A * C, H, W); C is 1 for an RPN and K for a one-stage head.
        deltas: per level (N, A * 4, H, W), Detectron2's box deltas.
    """

    logits: tuple[Tensor, ...]
    deltas: tuple[Tensor, ...]


@dataclass(frozen=True)
class Regions:
    """One row a region, the images of the batch concatenated in order.

    Attributes:
        boxes: per image (R_i, 4), x1 y1 x2 y2 in pixels of this detector's own input.
        features: (R, C, h, w) RoI-pooled features.
        logits: (R, K + 1) class logits, background last; None where no loss asked for them.
        deltas: (R, K * 4) or (R, 4) box deltas; None where no loss asked for them.
    """

    boxes: tuple[Tensor, ...]
    features: Tensor
    logits: Tensor | None = None
    deltas: Tensor | None = None

    @property
    def counts(self) -> tuple[int, ...]:
        """Regions per image; sums to R."""
        return tuple(len(boxes) for boxes in self.boxes)


@dataclass(frozen=True)
class Outputs:
    """Everything one detector said about one batch; stages that no loss needs are None.

    Attributes:
        features: level name -> (N, C, H, W), fine to coarse.
        dense: per-level head maps.
        regions: the sampled regions of the batch. Row r is the same region for student and teacher.
    """

    features: dict[str, Tensor]
    dense: Dense | None = None
    regions: Regions | None = None


@dataclass(frozen=True)
class Targets:
    """What the data said about one batch.

    Attributes:
        boxes: per image (G_i, 4) ground truth, x1 y1 x2 y2 in student input pixels.
        classes: per image (G_i,) int64 in 0..K-1.
        image_sizes: per image (height, width) before padding.
        strides: student input pixels a cell, by name of the FPN level. Maps round up, so this
            is not the padded size over the map's.
        num_classes: K.
        region_labels: (R,) int64 class of every student region, K for background; None where there
            are no regions.
        region_boxes: (R, 4) the ground-truth box matched to every region (any value for
            background); None where there are no regions.
        region_levels: (R,) int64 FPN level index a region was pooled from; None where unknown.
        anchors: per level (H * W * A, 4) anchor boxes; empty where the detector has none.
    """

    boxes: tuple[Tensor, ...]
    classes: tuple[Tensor, ...]
    image_sizes: tuple[tuple[int, int], ...]
    strides: dict[str, int]
    num_classes: int
    region_labels: Tensor | None = None
    region_boxes: Tensor | None = None
    region_levels: Tensor | None = None
    anchors: tuple[Tensor, ...] = ()
