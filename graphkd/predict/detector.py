"""The interface of loaded models, and the base classes of layout detectors."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphkd.document import Region, box_polygon
from graphkd.errors import UserError
from graphkd.modelfile import Header

DEFAULT = 0.5  # lowest shown score of a class if neither the user nor the file gives one


class PageError(UserError):
    """A model fails on one page of a batch.

    Args:
        message: what is wrong.
        index: the page's place in the batch.
    """

    def __init__(self, message: str, index: int):
        super().__init__(message)
        self.index = index


class Prepared(NamedTuple):
    """A page prepared for a model. Pages of equal `shape` can share a batch without changing each
    other's results.
    """

    shape: Hashable
    content: Any


class Predictor(ABC):
    """A loaded model of any task.

    Attributes:
        name: the name of the weights file.
        header: the header of the file; `score_floor` is the lowest score that the model can give.
        ahead: among the pages of this many batches those of one shape are gathered.
    """

    ahead: int = 1

    def __init__(self, name: str, header: Header):
        self.name, self.header = name, header

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of class numbers."""
        return self.header.classes

    @abstractmethod
    def prepare(self, pixels: np.ndarray) -> Prepared:
        """Prepares a page of (H, W, 3) uint8 RGB pixels."""

    @abstractmethod
    def regions(
        self, batch: Sequence[Prepared], *, shown: Mapping[str, float]
    ) -> list[tuple[Region, ...]]:
        """The regions on pages of one shape whose score reaches that of their class in `shown`; on
        each page by falling score.
        """

    def adjust(self, **values: Any) -> None:
        """Changes numbers by which raw outputs are read, such as `unclip_scale`.

        Raises:
            UserError: this kind of model has no such number.
        """
        for name in values:
            raise UserError(f"--{name.replace('_', '-')} is for text detectors, not {self.name}")

    def shown_scores(
        self, *, score: float | None = None, by_class: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """The lowest shown score of every class, see `choose_thresholds`."""
        return choose_thresholds(
            self.classes, stored=self.header.thresholds, score=score, by_class=by_class
        )


class Detections(NamedTuple):
    """The detections of one page as arrays.

    Attributes:
        boxes: (n, 4) float32, x1 y1 x2 y2 in pixels of the page.
        scores: (n,) float32 in 0..1.
        classes: (n,) whole numbers, places in the class list.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


class Detector(Predictor):
    """A layout detector; it can also return its detections as arrays."""

    @abstractmethod
    def detect(self, batch: Sequence[Prepared]) -> list[Detections]:
        """Finds regions on one or more pages of one shape."""

    def regions(
        self, batch: Sequence[Prepared], *, shown: Mapping[str, float]
    ) -> list[tuple[Region, ...]]:
        """See `Predictor.regions`.

        Raises:
            PageError: boxes or scores that are not finite.
        """
        found = self.detect(batch)
        for place, page in enumerate(found):
            if not (np.isfinite(page.boxes).all() and np.isfinite(page.scores).all()):
                raise PageError(
                    f"{self.name} gives boxes that are not numbers; its weights are bad", place
                )
        return [self._regions(page, shown) for page in found]

    def _regions(self, found: Detections, shown: Mapping[str, float]) -> tuple[Region, ...]:
        best_first = np.argsort(-found.scores, kind="stable")
        scored = (
            (self.classes[int(found.classes[i])], float(found.scores[i]), found.boxes[i].tolist())
            for i in best_first
        )
        return tuple(
            Region(label, score, box_polygon(box))
            for label, score, box in scored
            if score >= shown[label]
        )


class ExportedDetector(Detector):
    """An exported layout detector; resizing and normalisation are inside the file.

    Args:
        name: the name of the file.
        header: its header.
        call: converts pages (N, H, W, 3) uint8 RGB to boxes (M, 4), scores (M,), classes (M,) and
            the index of each box's page in the batch (M,).
    """

    def __init__(
        self, name: str, header: Header, call: Callable[[np.ndarray], Sequence[np.ndarray]]
    ):
        super().__init__(name, header)
        self._call = call

    def prepare(self, pixels: np.ndarray) -> Prepared:
        """The unchanged page; only pages of one size can share a batch."""
        return Prepared(pixels.shape[:2], pixels)

    def detect(self, batch: Sequence[Prepared]) -> list[Detections]:
        """Finds regions on pages of one shape.

        Raises:
            UserError: the file cannot be run, or returns a class without a name.
        """
        boxes, scores, classes, index = self._call(np.stack([page.content for page in batch]))
        if classes.size and not 0 <= classes.min() <= classes.max() < len(self.classes):
            raise UserError(f"{self.name}: it gives a class that it has no name for; export again")
        height, width = batch[0].shape
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))
        return [
            Detections(boxes[index == page], scores[index == page], classes[index == page])
            for page in range(len(batch))
        ]


def choose_thresholds(
    classes: Sequence[str],
    *,
    stored: Mapping[str, float],
    score: float | None = None,
    by_class: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """The lowest shown score of every class: that of `by_class`, else `score`, else that of the
    file, else 0.5.

    Args:
        classes: the detector's class names.
        stored: class name -> score from the weights file; may be empty.
        score: one score for all classes, in 0..1.
        by_class: class name -> score in 0..1.

    Raises:
        UserError: an unknown class, or a score outside 0..1.
    """
    by_class = dict(by_class or {})
    for name in by_class:
        if name not in classes:
            raise UserError(f"no class named {name!r}; the model knows {', '.join(classes)}")
    for value in [score, *by_class.values()]:
        if value is not None and not 0 <= value <= 1:
            raise UserError(f"a score is a number in 0..1, not {value:g}")
    if score is not None:
        return {name: by_class.get(name, score) for name in classes}
    return {name: by_class.get(name, stored.get(name, DEFAULT)) for name in classes}


def parse_by_class(texts: Iterable[str]) -> dict[str, float]:
    """Reads `title=0.3,table=0.6`. For a class that is named twice, the last score counts. A name
    may contain commas, because every name is followed by a score.

    Raises:
        UserError: a part is not NAME=NUMBER.
    """
    parsed = {}
    for part in (part for text in texts for part in _parts(text)):
        name, sign, number = part.rpartition("=")
        try:
            parsed[name.strip()] = float(number)
        except ValueError:
            sign = ""
        if not sign or not name.strip():
            raise UserError(f"--score-class {part!r}: write CLASS=SCORE, such as title=0.3")
    return parsed


def _parts(text: str) -> Iterator[str]:
    """Splits a text at commas; a piece without = is the beginning of the next part."""
    *pieces, last = text.split(",")
    waiting = ""
    for piece in pieces:
        waiting += piece
        if "=" in waiting:
            yield waiting
            waiting = ""
        else:
            waiting += ","
    yield waiting + last
