"""Text detectors: pages brought to the size of the model, its maps or boxes turned into lines.

Model files and ONNX files share this code; they differ in the function that runs the network.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphkd.document import Line, Region, box_polygon, text_region
from graphkd.errors import UserError
from graphkd.modelfile import Header
from graphkd.predict.detector import PageError, Predictor, Prepared, choose_thresholds
from graphkd.text.decode import EASTDecoder, MapDecoder
from graphkd.text.pages import STRIDE, input_size, resized

# (N, h, w, 3) uint8 RGB, sides multiples of 32 -> arrays by name: raw maps (N, c, h', w') of which
# one is called `text`; or boxes (M, 4), scores (M,) and image_index (M,).
Call = Callable[[np.ndarray], Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class BoxDecoder:
    """Lines of one-stage detectors: upright boxes as polygons.

    Attributes:
        box_thresh: least score of a line.
    """

    box_thresh: float = 0.5

    def __call__(
        self, found: Mapping[str, np.ndarray], *, size: tuple[int, int], original: tuple[int, int]
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Corners (4, 2) in pixels of the original image, and scores; see `MapDecoder`."""
        limits = np.array([original[1], original[0]] * 2, np.float64)
        scale = limits / (np.array([size[1], size[0]] * 2))
        kept = found["scores"] >= self.box_thresh
        boxes = np.clip(found["boxes"][kept] * scale, 0, limits)
        return [np.array(box_polygon(box)) for box in boxes], found["scores"][kept]


# Decoder -> what it reads of a network's outputs.
DECODERS = {
    MapDecoder: ("text",),
    EASTDecoder: ("text", "geometry"),
    BoxDecoder: ("boxes", "scores", "image_index"),
}


class FoundLines(NamedTuple):
    """The lines of one page.

    Attributes:
        polygons: (P, 2) each, x y in pixels of the page.
        scores: (G,) in 0..1.
    """

    polygons: list[np.ndarray]
    scores: np.ndarray


class LineDetector(Predictor):
    """A text detector of any kind.

    Args:
        name: of the weights file.
        header: from the file; its `settings` name decoder and test size.
        call: runs the network.

    Raises:
        UserError: settings that this version does not know.
    """

    def __init__(self, name: str, header: Header, call: Call):
        super().__init__(name, header)
        self._call = call
        try:
            self.resize = str(header.settings["resize"]), int(header.settings["size"])
            said = dict(header.settings["decoder"])
            kinds = {kind.__name__: kind for kind in DECODERS}
            self.decoder = kinds[said.pop("kind")](**said)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{name}: its settings of a text detector are damaged ({error})"
            ) from error
        known = {field.name for field in dataclasses.fields(self.decoder)}
        fitted = {key: value for key, value in header.calibration.items() if key in known}
        self.decoder = dataclasses.replace(self.decoder, **fitted)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the network's outputs."""
        return DECODERS[type(self.decoder)]

    def adjust(self, **values: Any) -> None:
        """Changes numbers of the decoder, such as `thresh` or `unclip_scale`.

        Raises:
            UserError: this detector has no such number.
        """
        fields = {field.name for field in dataclasses.fields(self.decoder)}
        for name in values:
            if name not in fields:
                raise UserError(
                    f"--{name.replace('_', '-')}: {self.name} has no such setting, only "
                    f"{', '.join(sorted(fields))}"
                )
        self.decoder = dataclasses.replace(self.decoder, **values)

    def shown_scores(
        self, *, score: float | None = None, by_class: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """The least score of a line, by the one class; by default the decoder's `box_thresh`."""
        stored = dict.fromkeys(self.classes, self.decoder.box_thresh)
        return choose_thresholds(self.classes, stored=stored, score=score, by_class=by_class)

    def prepare(self, pixels: np.ndarray, *, zoom: float = 1.0) -> Prepared:
        """The page at the model's test size, times `zoom`; sides are multiples of 32."""
        original = pixels.shape[:2]
        size = input_size(*original, *self.resize)
        if zoom != 1:
            size = tuple(max(1, round(side * zoom / STRIDE)) * STRIDE for side in size)
        return Prepared(size, (resized(pixels, size), original))

    def raw(self, batch: Sequence[Prepared]) -> list[dict[str, np.ndarray]]:
        """What the network gives for pages of one shape, for each page on its own.

        Raises:
            PageError: a value is not finite.
        """
        outputs = dict(self._call(np.stack([page.content[0] for page in batch])))
        index = outputs.pop("image_index", None)
        pages = []
        for place in range(len(batch)):
            rows = place if index is None else index == place
            pages.append({name: values[rows] for name, values in outputs.items()})
            if not all(np.isfinite(values).all() for values in pages[-1].values()):
                raise PageError(f"{self.name} gives values that are not numbers", place)
        return pages

    def detect(
        self, batch: Sequence[Prepared], *, box_thresh: float | None = None
    ) -> list[FoundLines]:
        """Finds lines on pages of one shape; `box_thresh` takes the place of the decoder's."""
        decoder = self.decoder
        if box_thresh is not None:
            decoder = dataclasses.replace(decoder, box_thresh=box_thresh)
        return [
            FoundLines(*decoder(outputs, size=page.shape, original=page.content[1]))
            for outputs, page in zip(self.raw(batch), batch, strict=True)
        ]

    def regions(
        self, batch: Sequence[Prepared], *, shown: Mapping[str, float]
    ) -> list[tuple[Region, ...]]:
        """For each page the region `text` around its lines from top to bottom; none without."""
        found = self.detect(batch, box_thresh=shown[self.classes[0]])
        return [_around(page) for page in found]


def _around(found: FoundLines) -> tuple[Region, ...]:
    lines = [
        Line(tuple((float(x), float(y)) for x, y in polygon), float(score))
        for polygon, score in zip(found.polygons, found.scores, strict=True)
    ]
    if not lines:
        return ()
    # The layout is unknown, so this is no reading order, but the same on every machine.
    lines.sort(key=lambda line: (line.box[1], line.box[0], line.polygon))
    score = sum(line.score for line in lines) / len(lines)
    return (text_region(lines, score=score),)
