"""A teacher from an ONNX file that reads pictures of lines: its frames in the classes of the
student's charset. The file is described in `graphkd.distill.onnx_file`.
"""

import logging
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from graphkd.data.mapper import read_for
from graphkd.distill.cache import ANSWER
from graphkd.distill.frame_cache import CachedFrames, FrameCache, packed, unpacked
from graphkd.distill.onnx_file import OnnxFile
from graphkd.distill.outputs import Outputs
from graphkd.distill.outputs import Sequence as FrameLogits
from graphkd.distill.teacher import Teacher
from graphkd.errors import UserError
from graphkd.text.charset import Charset, normalise, read_charset
from graphkd.text.ctc import read_frames
from graphkd.text.prepare import prepare_line

logger = logging.getLogger(__name__)

# Probabilities of exactly 0 have no finite logarithm.
LEAST_PROBABILITY = 1e-8
# Frames of which more than this has no class in the student's charset are not imitated.
MOST_LOST = 0.5
# Lines on which the teacher is tried at the start of a run.
_FIRST_LINES = 200


def projection(entries: Sequence[str], charset: Charset) -> np.ndarray:
    """The class of every class of another reader in a charset, (1 + len(entries),) int64.

    It is that of the same character after NFC. What the charset lacks is tried in half width and
    then without regard to case; -1 stands for the rest. Class 0, the blank, stays 0.
    """
    numbers = {entry: number for number, entry in enumerate(charset.entries, start=1)}
    folded: dict[str, int] = {}
    for entry, number in numbers.items():
        folded.setdefault(entry.casefold(), number)
    found = [0]
    for entry in entries:
        same = unicodedata.normalize("NFC", entry)
        narrow = normalise(same, half_width=True)
        number = numbers.get(same, numbers.get(narrow, folded.get(narrow.casefold(), -1)))
        found.append(number)
    return np.array(found)


class FrameReader:
    """An ONNX file that reads lines, by its own charset.

    Attributes:
        entries: the characters of the classes from 1.
        height: pixels of the lines that it reads.
    """

    def __init__(self, file: OnnxFile):
        """Finds the charset of the file.

        Raises:
            UserError: the file does not read lines, or has no charset.
        """
        self.file, self.about = file, file.about
        if not self.about.get("frames"):
            raise UserError(f"{file.path}: reads no lines; its description names no frames")
        facts = self.about if file.header is None else file.header.settings
        if "height" not in facts:
            raise UserError(f"{file.path}: reads no lines; its header names no height of lines")
        if facts.get("decoder", "ctc") != "ctc":
            raise UserError(f"{file.path}: writes steps with attention; a teacher must give frames")
        self.height, self.entries = facts["height"], self._entries()

    def _entries(self) -> tuple[str, ...]:
        if self.file.header is not None:
            charset = Charset.from_names(self.file.header.classes)
            return (*charset.entries, *(" " * charset.duplicate_space))
        given, path = self.about["charset"], self.file.path
        if isinstance(given, dict):
            text = self.file.metadata.get(given.get("metadata", ""))
            if text is None:
                known = ", ".join(sorted(self.file.metadata)) or "none"
                raise UserError(f"{path}: has no metadata {given}; its keys: {known}")
            # Its lists may name a character twice or have an empty line, so they are no `Charset`.
            entries = tuple(text.removesuffix("\n").split("\n"))
        else:
            entries = read_charset(path.parent / given).entries
        return (*entries, " ") if self.about.get("space") else entries

    def prepared(self, picture: np.ndarray) -> np.ndarray:
        """The valid pixels of a picture (H, W, 3) uint8 RGB at the reader's height."""
        pixels, width = prepare_line(picture, height=self.height)
        return pixels[:, :width]

    def frames(self, line: np.ndarray) -> np.ndarray:
        """The frames (T,) of a prepared line, of type `FRAME`.

        Raises:
            UserError: the model has another number of classes than its charset.
        """
        width = line.shape[1]
        if self.file.header is not None:
            pixels, _ = prepare_line(line, height=self.height)
            inputs = {"lines": pixels[None], "widths": np.array([width])}
            padded = pixels.shape[1]
        else:
            inputs = self._normalised(line)
            padded = inputs.shape[-1]
        values = self.file.run(inputs)[self.about["frames"]][0]
        if values.shape[1] != 1 + len(self.entries):
            raise UserError(
                f"{self.file.path}: has {values.shape[1]} classes, but its charset and the blank "
                f"are {1 + len(self.entries)}; correct charset or space in its description"
            )
        valid = max(1, -(-width * len(values) // padded))
        found = values[:valid]
        if "frames" not in self.about.get("probabilities", ()):
            found = found.softmax(-1)
        return packed(found.numpy())

    def _normalised(self, line: np.ndarray) -> np.ndarray:
        """(1, C, height, W) float32; the padding at the right is 0 after the normalisation."""
        about = self.about
        if about["format"] == "L":
            line = np.rint(line @ np.array([0.299, 0.587, 0.114]))[..., None]
        elif about["format"] == "BGR":
            line = line[..., ::-1]
        least = max(line.shape[1], about.get("least_width", 1))
        width = -(-least // about["multiple"]) * about["multiple"]
        values = (np.float32(line) - np.float32(about["mean"])) / np.float32(about["std"])
        padded = np.zeros((1, values.shape[2], self.height, width), np.float32)
        padded[0, :, :, : values.shape[1]] = values.transpose(2, 0, 1)
        return padded

    def read(self, picture: np.ndarray) -> tuple[str, float]:
        """Text and score (0..1) of a picture (H, W, 3) uint8 RGB, in the reader's own charset."""
        frames = self.frames(self.prepared(picture))
        blank = frames["blank"] >= frames["mass"][:, 0]
        best = np.where(blank, 0, frames["classes"][:, 0])
        scores = np.maximum(frames["blank"], frames["mass"][:, 0])
        return read_frames(best[None], scores[None], np.array([len(best)]), self)[0]

    def decode(self, classes: Iterable[int]) -> str:
        """The text of some classes, as `Charset.decode` gives it."""
        return "".join(self.entries[number - 1] for number in classes if number)


class OnnxReader(Teacher):
    """The frames of a `FrameReader`, which are computed once for every line if there is a cache.

    Without a cache it reads the student's own augmented lines.
    """

    provides = frozenset({"frames"})

    def __init__(
        self,
        file: OnnxFile,
        charset: Charset,
        *,
        student_format: str = "BGR",
        cache: Path | None = None,
        validation: Sequence[str] = (),
        output_dir: Path | None = None,
    ):
        """Takes the file and the student's charset.

        Args:
            file: the model.
            charset: of the student.
            student_format: channel order of the student's batches.
            cache: the folder of cached frames; None runs the model on every batch.
            validation: names of the sets on which it is tried at the start.
            output_dir: the run's folder, for `teacher.json`.
        """
        self.reader, self.charset = FrameReader(file), charset
        self.classes_of = projection(self.reader.entries, charset)
        self.student_format, self.validation = student_format, validation
        self.cache, self.output_dir = cache, output_dir

    def prepare(self, items: Sequence[dict], mapper: Callable[..., dict]) -> Callable[..., dict]:
        """Writes teacher.json, logs how well the teacher fits, fills the cache, and returns a
        mapper that adds the cached frames to its items.

        Raises:
            UserError: a picture cannot be read.
        """
        if self.output_dir is not None:
            self.reader.file.record(self.output_dir)
        if not all("file_name" in item for item in items):
            return mapper
        self._try(items[:: max(1, len(items) // _FIRST_LINES)][:_FIRST_LINES])
        if self.cache is None:
            return mapper
        cache = FrameCache(self.cache, self.reader.file.identity)
        return CachedFrames(mapper, cache.fill(items, self._prepared, self.reader.frames))

    def _prepared(self, item: dict) -> np.ndarray:
        return self.reader.prepared(read_for(item, format="RGB"))

    def _try(self, items: Sequence[dict]) -> None:
        """Logs the characters that teacher and student share, what else the teacher reads on some
        lines, and its errors on the validation set.
        """
        shared = len({*self.classes_of[1:].tolist()} - {-1})
        lost = [self._projected(self.reader.frames(self._prepared(item)))[1] for item in items]
        logger.info(
            "teacher %s: %d of the student's %d characters; %.1f %% of its probability on %d lines "
            "is for other characters",
            *(self.reader.file.path.name, shared, len(self.charset.entries)),
            *(100 * float(np.concatenate(lost).mean()), len(items)),
        )
        for name in self.validation:
            from graphkd.data.crops import published

            lines = published(name)
            lines = lines[:: max(1, len(lines) // _FIRST_LINES)][:_FIRST_LINES]
            logger.info(
                "teacher %s: %.1f %% character errors on %d lines of %s",
                *(self.reader.file.path.name, 100 * self.errors(lines), len(lines), name),
            )

    def errors(self, lines: Sequence[dict]) -> float:
        """Edits by characters of the truth over some lines, read in the student's charset."""
        edits = characters = 0
        for line in lines:
            found, lost = self._projected(self.reader.frames(self._prepared(line)))
            best = np.where(lost > MOST_LOST, 0, found.argmax(1))[None]
            length = np.array([len(found)])
            text, _ = read_frames(best, np.ones(best.shape), length, self.charset)[0]
            truth = unicodedata.normalize("NFC", line["text"])
            edits += Levenshtein.distance(text, truth)
            characters += len(truth)
        return edits / max(1, characters)

    def _projected(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return unpacked(frames, self.classes_of, self.charset.size)

    @torch.no_grad()
    def observe(
        self, batch: list[dict], boxes: Sequence[Tensor] | None, needs: frozenset[str]
    ) -> Outputs:
        """Returns the frames that the mapper has put into the batch, or else runs the model."""
        rows = [self._projected(self._frames_of(item)) for item in batch]
        lengths = [len(lost) for _, lost in rows]
        logits = np.zeros((len(rows), max(lengths), self.charset.size), np.float32)
        trusted = np.zeros(logits.shape[:2], bool)
        for number, (found, lost) in enumerate(rows):
            logits[number, : len(lost)] = np.log(np.maximum(found, LEAST_PROBABILITY))
            trusted[number, : len(lost)] = lost <= MOST_LOST
        values = (torch.from_numpy(logits), torch.tensor(lengths), torch.from_numpy(trusted))
        return Outputs(frames=FrameLogits(*values))

    def _frames_of(self, item: dict) -> np.ndarray:
        if item.get(ANSWER) is not None:
            return item[ANSWER]
        line = item["image"][:, :, : item["line_width"]].cpu().numpy().transpose(1, 2, 0)
        if self.student_format == "BGR":
            line = line[..., ::-1]
        line = np.repeat(line, 3, 2) if line.shape[2] == 1 else line
        return self.reader.frames(self.reader.prepared(np.ascontiguousarray(line)))
