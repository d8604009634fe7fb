"""What reports draw: boxes, pages with boxes, document graphs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

NODE_TYPES = ("text", "nontext", "background")


@dataclass(frozen=True)
class Boxes:
    """Boxes of one page: ground truth (no scores) or one model's predictions.

    Attributes:
        boxes: (n, 4) x1 y1 x2 y2 in pixels of the page's image; n may be 0.
        classes: n class names.
        scores: n scores in 0..1; None for ground truth.
        paired: for each object whether it was found, for each prediction whether it is right; None
            if they were not compared.
        polygons: n outlines (P, 2), drawn instead of the boxes; None to draw the boxes.
    """

    boxes: np.ndarray
    classes: list[str]
    scores: list[float] | None = None
    paired: list[bool] | None = None
    polygons: list[np.ndarray] | None = None

    @classmethod
    def of_lines(
        cls,
        polygons: Sequence[np.ndarray],
        *,
        labels: list[str],
        scores: list[float] | None = None,
        paired: list[bool] | None = None,
    ) -> "Boxes":
        """Text lines as outlines (P, 2)."""
        outlines = [np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in polygons]
        boxes = np.array([[*points.min(0), *points.max(0)] for points in outlines])
        return cls(boxes, labels, scores, paired, outlines)

    def __post_init__(self) -> None:
        array = np.asarray(self.boxes, dtype=np.float64).reshape(-1, 4)
        object.__setattr__(self, "boxes", array)
        for name in ("classes", "scores", "paired", "polygons"):
            values = getattr(self, name)
            if values is not None and len(values) != len(array):
                raise ValueError(f"{len(array)} boxes but {len(values)} {name}")
        if not np.isfinite(array).all():
            raise ValueError("a box holds NaN or infinity")

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Example:
    """One page with its ground truth and the predictions of models.

    Attributes:
        image: (H, W, 3) RGB uint8.
        title: the title above the page.
        truth: the annotated boxes.
        predictions: model name -> predicted boxes, in the order to show.
    """

    image: np.ndarray
    title: str
    truth: Boxes
    predictions: dict[str, Boxes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_image(self.image)


@dataclass(frozen=True)
class GraphView:
    """One page's document graph, before and after merging.

    Attributes:
        image: (H, W, 3) RGB uint8.
        boxes: (n, 4) regions, x1 y1 x2 y2 in pixels of the image.
        node_types: n times "text", "nontext" or "background".
        groups: n group ids; regions with the same id are one node.
        edges: (M, M) affinities of the nodes; larger is stronger.
        assignment: (M, n), rows sum to 1: the share of each region in a node.
        classes: n class names for the hover text; None if they are not known.
    """

    image: np.ndarray
    boxes: np.ndarray
    node_types: list[str]
    groups: list[int]
    edges: np.ndarray
    assignment: np.ndarray
    classes: list[str] | None = None

    def __post_init__(self) -> None:
        check_image(self.image)
        boxes = np.asarray(self.boxes, dtype=np.float64).reshape(-1, 4)
        nodes = len(self.edges)
        edges = np.asarray(self.edges, dtype=np.float64).reshape(nodes, nodes)
        assignment = np.asarray(self.assignment, dtype=np.float64).reshape(nodes, len(boxes))
        for name, value in (("boxes", boxes), ("edges", edges), ("assignment", assignment)):
            object.__setattr__(self, name, value)
        lengths = {len(self.node_types), len(self.groups), len(boxes)}
        if self.classes is not None:
            lengths.add(len(self.classes))
        if len(lengths) > 1:
            raise ValueError(f"boxes, node_types, groups and classes differ in length: {lengths}")
        if unknown := set(self.node_types) - set(NODE_TYPES):
            raise ValueError(f"unknown node types {sorted(unknown)}; use {', '.join(NODE_TYPES)}")
        if not np.isfinite(boxes).all() or not (assignment >= 0).all():
            raise ValueError("boxes must be finite and the assignment 0 or more")
        members: dict[int, set[int]] = {}
        for region, group in enumerate(self.groups):
            members.setdefault(group, set()).add(region)
        rows = {frozenset(np.flatnonzero(row).tolist()) for row in assignment}
        if len(members) != nodes or rows != set(map(frozenset, members.values())):
            raise ValueError("groups and assignment disagree about which regions form a node")


def check_image(image: np.ndarray) -> None:
    """Raises ValueError unless the image is (H, W, 3) uint8 with at least one pixel."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"expected an (H, W, 3) uint8 image, got {image.dtype} {image.shape}")
