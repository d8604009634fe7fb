"""The data classes that losses receive: the outputs of a model for a batch (`Outputs`) and the
ground truth of the batch (`Targets`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace

import torch
from torch import Tensor

# What losses say they need of `Outputs.regions`.
REGION_PARTS = frozenset({"region_features", "region_predictions"})


@dataclass(frozen=True)
class Dense:
    """Head maps of an RPN or a one-stage detector, one entry per FPN level, fine to coarse.

    Attributes:
        logits: per level (N, A * C, H, W); C is 1 for an RPN and K for a one-stage head.
        deltas: per level (N, A * 4, H, W), box deltas in the detector's own code.
        distributions: per level (N, 4 * (n + 1), H, W) logits of the box edges' distributions,
            float32; None for a detector without them.
        quality: per level (N, 1, H, W) estimated localization quality in 0..1; None for a detector
            without it.
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
    """The regions of a batch, one row per region; the images are concatenated in order.

    Attributes:
        boxes: per image (R_i, 4), x1 y1 x2 y2 in pixels of this detector's own input.
        features: (R, C, h, w) RoI-pooled features.
        logits: (R, K + 1) class logits, background last; None if no loss needs them.
        deltas: (R, K * 4) or (R, 4) box deltas; None if no loss needs them.
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
    """The outputs of a text recogniser for a batch of lines.

    Attributes:
        logits: (N, T, C) logits of every frame (CTC) or step (attention), float32.
        lengths: (N,) int64 number of valid frames per line; None if all T are valid.
        trusted: (N, T) bool, frames of a teacher that may be imitated; None for all of them.
    """

    logits: Tensor
    lengths: Tensor | None = None
    trusted: Tensor | None = None


@dataclass(frozen=True)
class Outputs:
    """All outputs of one model for one batch; parts that no loss needs are empty or None.

    Attributes:
        features: level name -> (N, C, H, W) feature map of the neck, fine to coarse.
        stages: stage name -> (N, C, H, W) feature map of the body below the neck.
        dense: per-level head maps.
        regions: the sampled regions of the batch; row r is the same region for student and teacher.
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

    def to(self, device: torch.device) -> "Outputs":
        """The same outputs on a device."""
        return _map_tensors(self, lambda tensor: tensor.to(device))


@dataclass(frozen=True)
class Assignment:
    """The object that the model's own assigner gave to every anchor.

    Attributes:
        owners: per image (A,) int64, index of the anchor's object; -1 for none.
        valid: per image (A,) bool, whether the anchor lies on the unpadded page.
        thresholds: per image (G,) lowest IoU of a positive anchor of each object; empty if the
            assigner uses no threshold.
    """

    owners: tuple[Tensor, ...]
    valid: tuple[Tensor, ...]
    thresholds: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Targets:
    """The ground truth of one batch; parts that a task does not have are empty or None.

    Attributes:
        boxes: per image (G_i, 4) ground truth, x1 y1 x2 y2 in pixels of the student's input.
        classes: per image (G_i,) int64 in 0..K-1.
        image_sizes: per image (height, width) before padding.
        strides: name of a level or stage -> pixels of the student's input per cell. It is not the
            padded image size over the map size, because map sizes are rounded up.
        num_classes: K.
        region_labels: (R,) int64 class of every student region, K for background.
        region_boxes: (R, 4) the ground-truth box matched to every region; arbitrary for
            background.
        region_levels: (R,) int64 index of the FPN level that a region was pooled from.
        anchors: per level (H * W * A, 4) anchor boxes.
        assignment: the object of every anchor.
        polygons: per image the (P, 2) polygons of its objects in pixels of the student's input.
        ignored: per image (G_i,) bool, objects that are not scored.
        maps: name -> (N, 1, H, W) target maps; `mask` is 1 for pixels that are trained on.
        texts: the text of each line.
        progress: share of the training that is finished, 0..1.
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
    """Applies `change` to every tensor in nested data classes, dicts and tuples."""
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
