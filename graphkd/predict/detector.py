"""What every detector here can do, whatever runs it; no detector itself."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np


class Prepared(NamedTuple):
    """A page ready for a detector; pages of equal `shape` may share a batch without changing each
    other's result.
    """

    shape: Hashable
    content: Any


class Found(NamedTuple):
    """One page's raw finds.

    Attributes:
        boxes: (n, 4) float32, x1 y1 x2 y2 in pixels of the page.
        scores: (n,) float32 in 0..1.
        classes: (n,) whole numbers, places in the class list.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


class Detector(Protocol):
    """A loaded detector.

    Attributes:
        name: of the weights file.
        classes: class names in the order of class numbers.
        thresholds: class name -> shown score as stored in the file; may be empty.
        card: facts about the training, as stored in the file; may be empty.
        floor: the lowest score that it gives at all.
    """

    name: str
    classes: tuple[str, ...]
    thresholds: Mapping[str, float]
    card: Mapping[str, str]
    floor: float

    def prepare(self, pixels: np.ndarray) -> Prepared:
        """Readies a page of (H, W, 3) uint8 RGB pixels."""
        ...

    def detect(self, batch: Sequence[Prepared]) -> list[Found]:
        """Finds regions on one or more pages of one shape."""
        ...
