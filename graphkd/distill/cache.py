"""The answers of a foreign text detector: cached on disk for whole pages, moved with the page by
the mapper, and made comparable with the student's labels.
"""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphkd.data.line_mapper import LabelMaker, warp
from graphkd.io import replacing
from graphkd.text.decode import MapDecoder
from graphkd.text.polygons import fill, pieces, shrink_distance, valid

logger = logging.getLogger(__name__)

# Key of a teacher's answer in mapped items.
ANSWER = "teacher_answer"
# Pixels per cell of a stored map and of the map in an item.
STRIDE = 2
# Probabilities are cut to this distance from 0 and 1, so that no single pixel rules a loss.
LEAST_PROBABILITY = 1e-4
# How maps of another shrink ratio are made comparable, see `TextAnswer`.
MODES = ("agree", "boxes")
_LOG_SECONDS = 30.0


def logits_of(probability: np.ndarray) -> np.ndarray:
    """The logits of probabilities, within `LEAST_PROBABILITY` of 0 and 1; float32."""
    p = np.clip(probability.astype(np.float32), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.log(p / (1 - p))


@dataclass
class TextAnswer:
    """Makes the teacher's answer for an item out of its map of probabilities.

    DB shrinks its labels by a ratio r. If that of the teacher differs from the student's, the two
    maps disagree around every text. `agree` compares them only where the labels of the ground truth
    for both ratios agree. `boxes` finds the teacher's texts and draws the student's labels for
    them, which are hard labels.

    Attributes:
        mode: agree or boxes.
        label_maker: draws the student's labels.
        shrink: r of the teacher; None if it is not known, then maps are taken as they are.
    """

    mode: str = "agree"
    label_maker: LabelMaker | None = None
    shrink: float | None = None

    def __call__(self, item: Mapping[str, Any], probability: np.ndarray) -> dict[str, Tensor]:
        """`text`, logits (1, h, w), and for `agree` also `trusted`, (1, H, W) of 0 and 1.

        Args:
            item: the mapped item, with an image (C, H, W).
            probability: (h, w) on its image, of any stride.
        """
        size = tuple(item["image"].shape[-2:])
        if self.shrink is not None and self.mode == "boxes":
            probability = self._redrawn(probability, size, item["progress"])
        answer = {"text": torch.from_numpy(logits_of(probability))[None]}
        if self.shrink is not None and self.mode == "agree" and "maps" in item:
            own = item["maps"]["text"].numpy()[0] > 0
            other = shrunk(item["polygons"], item["ignore"], size, self.shrink) > 0
            answer["trusted"] = torch.from_numpy(np.uint8(own == other))[None]
        return answer

    def _redrawn(
        self, probability: np.ndarray, size: tuple[int, int], progress: float
    ) -> np.ndarray:
        decoder = MapDecoder(shrink_ratio=self.shrink, shape="polygon")
        maps = {"text": logits_of(probability)[None]}
        polygons, _ = decoder(maps, size=probability.shape, original=size)
        flags = np.zeros(len(polygons), bool)
        return self.label_maker(polygons, flags, *size, progress)["text"][0].astype(np.float32)


def shrunk(
    polygons: Sequence[np.ndarray], ignore: np.ndarray, size: tuple[int, int], ratio: float
) -> np.ndarray:
    """The text label of DB for a shrink ratio, (H, W) uint8, without texts that are ignored."""
    label = np.zeros(size, np.uint8)
    for points, ignored in zip(polygons, ignore, strict=True):
        shape = valid(points)
        if ignored or shape.is_empty:
            continue
        for kernel in pieces(shape.buffer(-shrink_distance(shape.area, shape.length, ratio))):
            fill(label, kernel, 1)
    return label


def padded(answers: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The answers of a batch as maps (N, 1, h, w), padded at the right and bottom with no text."""
    maps = {}
    for name, first in answers[0].items():
        sizes = [each[name].shape[-2:] for each in answers]
        height, width = (max(sides) for sides in zip(*sizes, strict=True))
        empty = float(logits_of(np.zeros(1))[0]) if name == "text" else 0
        maps[name] = first.new_full((len(answers), 1, height, width), empty)
        for row, each, (rows, columns) in zip(maps[name], answers, sizes, strict=True):
            row[:, :rows, :columns] = each[name]
    return maps


class MapCache:
    """A folder of text maps, one file a page, shared by all runs.

    A file's name is the SHA-256 of `identity` and the page's bytes, so another model, another
    preprocessing or another page has another name. Files of earlier teachers may be deleted.
    """

    def __init__(self, folder: Path, identity: str):
        """`identity` stands for the model's file and its preprocessing."""
        self.folder, self.identity = folder, identity

    def path(self, item: Mapping[str, Any]) -> Path:
        """The file of a page."""
        # The size tells whether the page is turned by its EXIF entry.
        about = f"{self.identity} {item.get('width')} {item.get('height')} "
        name = hashlib.sha256(about.encode() + Path(item["file_name"]).read_bytes()).hexdigest()
        return self.folder / name[:2] / f"{name}.npz"

    def fill(self, items: Sequence[dict], compute: Callable[[dict], np.ndarray]) -> dict[str, Path]:
        """Computes the maps that are missing; returns the file of every `file_name`.

        Args:
            items: pages.
            compute: page -> (h, w) probabilities.
        """
        paths = {item["file_name"]: self.path(item) for item in items}
        missing = [item for item in items if not paths[item["file_name"]].is_file()]
        # Processes that fill the same folder start at different pages.
        first = os.getpid() % max(len(missing), 1)
        logged = time.monotonic()
        for number, item in enumerate(missing[first:] + missing[:first], start=1):
            path = paths[item["file_name"]]
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path) as stream:
                    np.savez_compressed(stream, text=compute(item).astype(np.float16))
            if time.monotonic() - logged > _LOG_SECONDS or number == len(missing):
                logged = time.monotonic()
                logger.info("text maps of the teacher: %d of %d pages", number, len(missing))
        return paths


class CachedAnswers:
    """A mapper that adds the teacher's cached answer to every item of another mapper."""

    def __init__(self, mapper: Callable[..., dict], paths: Mapping[str, Path], answer: TextAnswer):
        self.mapper, self.paths, self.answer = mapper, paths, answer

    def __call__(self, item: dict, progress: float = 0.0) -> dict:
        """The mapped item, with the answer under `ANSWER`.

        Its `matrix` moves pixels of the page to pixels of the image (`graphkd.data.line_mapper`).
        """
        mapped = self.mapper(item, progress)
        if "matrix" not in mapped:  # a task whose mapper does not say how it moved the page
            return mapped
        with np.load(self.paths[item["file_name"]]) as stored:
            values = stored["text"].astype(np.float32)
        to_page = np.diag(
            [mapped["width"] / values.shape[1], mapped["height"] / values.shape[0], 1]
        )
        to_cells = np.diag([1 / STRIDE, 1 / STRIDE, 1])
        size = tuple(-(-side // STRIDE) for side in mapped["image"].shape[-2:])
        moved = warp(values, to_cells @ mapped["matrix"] @ to_page, size)
        return {**mapped, ANSWER: self.answer(mapped, moved)}
