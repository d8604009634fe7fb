"""Text recognisers: pictures of lines brought to the model's height, its frames turned into text.

Model files and ONNX files share this code; they differ in the function that runs the network.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphkd.document import Line, Region, box_polygon, text_region
from graphkd.errors import UserError
from graphkd.modelfile import Header
from graphkd.predict.detector import PageError, Predictor, Prepared
from graphkd.text.charset import Charset
from graphkd.text.ctc import read_frames, read_steps
from graphkd.text.prepare import PREPARATION, prepare_line

# Lines (N, h, W, 3) uint8 RGB and their valid widths (N,) int64 -> arrays by name, see `OUTPUTS`.
Call = Callable[[np.ndarray, np.ndarray], Mapping[str, np.ndarray]]
INPUTS = ("lines", "widths")
# (N, T) best class of every frame or step, (N, T) its probability, (N,) number of valid ones. Files
# also give `frames`: (N, T, C) log-probabilities.
OUTPUTS = ("best", "best_score", "lengths")
FRAMES = "frames"
DECODERS = ("ctc", "attention")


class Reading(NamedTuple):
    """The text of one line.

    Attributes:
        text: what the model reads; may be empty.
        score: in 0..1.
        scores: (n,) probabilities of the best class in the valid frames or steps.
    """

    text: str
    score: float
    scores: np.ndarray


class CropReader(Predictor):
    """A text recogniser of any kind.

    Attributes:
        charset: the characters that it can write.
        height: of its input in pixels.
        decoder: one of `DECODERS`.

    Args:
        name: of the weights file.
        header: from the file; its classes are the charset, its `settings` hold `height` and
            `decoder`, and the number of the `preparation` that the model was trained with.
        call: runs the network.

    Raises:
        UserError: settings that this version does not know.
    """

    ahead = 16  # lines of a folder have many widths

    def __init__(self, name: str, header: Header, call: Call):
        super().__init__(name, header)
        self._call = call
        said = header.settings
        try:
            self.charset = Charset.from_names(header.classes)
            self.height, self.decoder = int(said["height"]), str(said["decoder"])
            preparation = int(said["preparation"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{name}: its settings of a text recogniser are damaged ({error})"
            ) from error
        if self.decoder not in DECODERS or preparation != PREPARATION:
            raise UserError(
                f"{name}: it needs the decoder {self.decoder} and the preparation {preparation} of "
                f"lines; this version has {', '.join(DECODERS)} and {PREPARATION}; update graphkd"
            )

    def shown_scores(
        self, *, score: float | None = None, by_class: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """The lowest score of a line, as {"text": score}; all lines are shown by default.

        Raises:
            UserError: a score for a class, or one outside 0..1.
        """
        if by_class:
            raise UserError(f"--score-class is for detectors; {self.name} reads text, use --score")
        if score is not None and not 0 <= score <= 1:
            raise UserError(f"a score is a number in 0..1, not {score:g}")
        return {"text": score or 0.0}

    def prepare(self, pixels: np.ndarray) -> Prepared:
        """The line at the model's height, padded to the width of its bucket."""
        line, width = prepare_line(pixels, height=self.height)
        return Prepared(line.shape[1], (line, width, pixels.shape[:2]))

    def frames(self, batch: Sequence[Prepared]) -> dict[str, np.ndarray]:
        """What the network gives for lines of one bucket.

        Raises:
            PageError: a probability is not finite.
        """
        lines = np.stack([each.content[0] for each in batch])
        widths = np.array([each.content[1] for each in batch], np.int64)
        found = dict(self._call(lines, widths))
        for place, (scores, length) in enumerate(
            zip(found["best_score"], found["lengths"], strict=True)
        ):
            if not np.isfinite(scores[:length]).all():
                raise PageError(f"{self.name} gives values that are not numbers", place)
        return found

    def detect(self, batch: Sequence[Prepared]) -> list[Reading]:
        """Reads lines of one bucket."""
        found = self.frames(batch)
        best, scores, lengths = (found[name] for name in OUTPUTS)
        classes = self.charset.size + (self.decoder == "attention")  # with the end of a text
        if best.size and not 0 <= best.min() <= best.max() < classes:
            raise UserError(f"{self.name}: it gives a class that it has no name for; export again")
        read = read_frames if self.decoder == "ctc" else read_steps
        return [
            Reading(text, score, row[: max(1, length)])
            for (text, score), row, length in zip(
                read(best, scores, lengths, self.charset), scores, lengths, strict=True
            )
        ]

    def regions(
        self, batch: Sequence[Prepared], *, shown: Mapping[str, float]
    ) -> list[tuple[Region, ...]]:
        """For each picture one region `text` with one line; none below the shown score."""
        pages = []
        for prepared, found in zip(batch, self.detect(batch), strict=True):
            height, width = prepared.content[2]
            line = Line(
                box_polygon((0.0, 0.0, float(width), float(height))),
                text=found.text,
                confidence=found.score,
            )
            kept = found.score >= shown["text"]
            pages.append((text_region([line], score=found.score),) if kept else ())
        return pages


def crop_settings(*, height: int, decoder: str) -> dict[str, Any]:
    """The `Header.settings` of a text recogniser."""
    return {"height": height, "decoder": decoder, "preparation": PREPARATION}
