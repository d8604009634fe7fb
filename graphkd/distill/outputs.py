"""The data classes between models and losses: what a model said about a batch (`Outputs`) and what
the annotations said (`Targets`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class Dense:
    """Head maps of a detector, one entry per FPN level, fine to coarse (an RPN or one-stage head).

    Attributes:
        logits: per level (N, A * C, H, W); C is 1 for an RPN and K for a one-stage head.
        deltas: per level (N, A * 4, H, W), box deltas in the detector's own code.
        distributions: per level (N, 4 * (n + 1), H, W) logits of the box edges' distributions,
            float32; None for a detector without them.
        quality: per level (N, 1, H, W) estimated localization quality in 0..1; None without it.
        levels: names of the levels, so that two heads can be compared on those they share; empty
            where heads with other levels are not comparable.
        decode: turns deltas (R, 4) and their anchors (R, 4) into boxes (R, 4) x1 y1 x2 y2 in
            pixels; None where no loss compares decoded boxes.
    """

    logits: tuple[Tensor, ...]
    deltas: tuple[Tensor, ...]
    distributions: tuple[Tensor, ...] | None = None
    quality: tuple[Tensor, ...] | None = None
    levels: tuple[str, ...] = ()
    decode: Callable[[Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Regions:
    """One row per region, the images of the batch concatenated in order.

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
class Sequence:
    """What a recogniser said about lines.

    Attributes:
        logits: (N, T, C) logits of every frame (CTC) or step (attention), float32.
        lengths: (N,) int64 valid frames per line; None where all T count.
    """

    logits: Tensor
    lengths: Tensor | None = None


@dataclass(frozen=True)
class Outputs:
    """Everything one model said about one batch; parts that no loss needs are empty or None.

    Attributes:
        features: level name -> (N, C, H, W) of the neck, fine to coarse.
        stages: stage name -> (N, C, H, W) of the body below the neck.
        dense: per-level head maps.
        regions: the sampled regions of the batch. Row r is the same region for student and teacher.
        maps: name -> (N, c, H, W) per-pixel logits.
        frames: frame logits of a recogniser.
        steps: step logits of an attention decoder.
    """

    features: dict[str, Tensor] = field(default_factory=dict)
    dense: Dense | None = None
    regions: Regions | None = None
    stages: dict[str, Tensor] = field(default_factory=dict)
    maps: dict[str, Tensor] = field(default_factory=dict)
    frames: Sequence | None = None
    steps: Sequence | None = None

    def detached(self) -> "Outputs":
        """The same outputs without gradient."""
        return _map_tensors(self, Tensor.detach)


@dataclass(frozen=True)
class Assignment:
    """Which object every anchor was trained on, as the model's own assigner decided.

    Attributes:
        owners: per image (A,) int64, the index of the anchor's object, -1 for none.
        valid: per image (A,) bool, whether the anchor lies on the unpadded page.
        thresholds: per image (G,) IoU from which an anchor is positive for the object; empty where
            the assigner has none.
    """

    owners: tuple[Tensor, ...]
    valid: tuple[Tensor, ...]
    thresholds: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Targets:
    """What the annotations said about one batch; parts that a task has not stay empty or None.

    Attributes:
        boxes: per image (G_i, 4) ground truth, x1 y1 x2 y2 in student input pixels.
        classes: per image (G_i,) int64 in 0..K-1.
        image_sizes: per image (height, width) before padding.
        strides: student input pixels per cell, by name of the FPN level. Maps round up, so this
            is not the padded size over the map's.
        num_classes: K.
        region_labels: (R,) int64 class of every student region, K for background.
        region_boxes: (R, 4) the ground-truth box matched to every region (any value for
            background).
        region_levels: (R,) int64 index of the FPN level that a region was pooled from.
        anchors: per level (H * W * A, 4) anchor boxes.
        assignment: which object every anchor was trained on.
        polygons: per image the (P, 2) polygons of its objects in student input pixels.
        ignored: per image (G_i,) bool, objects that are neither right nor wrong.
        maps: name -> (N, 1, H, W) target maps; `mask` is 1 where a pixel is trained on.
        texts: per line its text.
        progress: share of the training that is over, 0..1.
    """

    boxes: tuple[Tensor, ...] = ()
    classes: tuple[Tensor, ...] = ()
    image_sizes: tuple[tuple[int, int], ...] = ()
    strides: dict[str, int] = field(default_factory=dict)
    num_classes: int = 0
    region_labels: Tensor | None = None
    region_boxes: Tensor | None = None
    region_levels: Tensor | None = None
    anchors: tuple[Tensor, ...] = ()
    assignment: Assignment | None = None
    polygons: tuple[tuple[Tensor, ...], ...] = ()
    ignored: tuple[Tensor, ...] = ()
    maps: dict[str, Tensor] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    progress: float = 0.0


def _map_tensors(value, change: Callable[[Tensor], Tensor]):
    """`value` with every tensor in its data classes, dicts and tuples changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _map_tensors(each, change) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_map_tensors(each, change) for each in value)
    if is_dataclass(value):
        parts = {f.name: _map_tensors(getattr(value, f.name), change) for f in fields(value)}
        return replace(value, **parts)
    return value
