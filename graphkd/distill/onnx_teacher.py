"""A teacher from an ONNX file that gives text maps or dense heads, and the choice of the teacher
for a file. The file is described in `graphkd.distill.onnx_file`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn
from torch.nn import functional as F

from graphkd.config import project_path
from graphkd.data.line_mapper import warp
from graphkd.data.mapper import read_for
from graphkd.distill.cache import (
    ANSWER,
    MODES,
    STRIDE,
    CachedAnswers,
    MapCache,
    TextAnswer,
    padded,
)
from graphkd.distill.onnx_file import OnnxFile
from graphkd.distill.onnx_reader import OnnxReader
from graphkd.distill.outputs import Dense, Outputs
from graphkd.distill.teacher import Teacher
from graphkd.errors import UserError
from graphkd.io import replacing
from graphkd.modeling.maps.labels import label_maker

# A map whose values lie closer together than this on all of the first pages teaches nothing.
_LEAST_RANGE, _FIRST_PAGES = 0.01, 8


class OnnxTeacher(Teacher):
    """Text maps and dense heads of an ONNX file.

    The text maps of whole pages are computed once and cached, if there is a `cache`.
    """

    def __init__(
        self,
        file: OnnxFile,
        *,
        student_format: str = "BGR",
        cache: Path | None = None,
        answer: TextAnswer | None = None,
        output_dir: Path | None = None,
    ):
        """Takes the file and what is done with its answers.

        Args:
            file: the model.
            student_format: channel order of the student's batches.
            cache: the folder of cached text maps; None runs the model on every batch.
            answer: makes a teacher's answer out of a text map.
            output_dir: the run's folder, for `teacher.json` and `teacher_map.png`.
        """
        self.file, self.about, self.student_format = file, file.about, student_format
        self.cache, self.output_dir = cache, output_dir
        self.answer = answer or TextAnswer()
        self.answer.shrink = self.about.get("shrink")
        names = self.about.get("classes")
        self.classes = None if names is None else tuple(names)
        self.provides = frozenset(part for part in ("maps", "dense") if self.about.get(part))

    def prepare(self, items: Sequence[dict], mapper: Callable[..., dict]) -> Callable[..., dict]:
        """Writes teacher.json and teacher_map.png, fills the cache, and returns a mapper that adds
        the cached answers to its items.

        Raises:
            UserError: the text map is constant, or a page cannot be read.
        """
        if self.output_dir is not None:
            self.file.record(self.output_dir)
        if not self.about.get("maps") or not all("file_name" in item for item in items):
            return mapper
        self._check(items)
        if self.cache is None:
            return mapper
        paths = MapCache(self.cache, self.file.identity).fill(items, self._half_map)
        return CachedAnswers(mapper, paths, self.answer)

    def _check(self, items: Sequence[dict]) -> None:
        """Saves the first page that has text beside its map."""
        for item in items[:_FIRST_PAGES]:
            page, values = self.page_map(item)
            if np.ptp(values) >= _LEAST_RANGE:
                break
        else:
            raise UserError(
                f"{self.file.path}: its text map is constant ({values.min():.3f} to "
                f"{values.max():.3f}) on the first pages; compare format, mean, std and maps with "
                "the model's own code"
            )
        if self.output_dir is not None:
            grey = cv2.resize(np.uint8(255 * values.clip(0, 1)), page.shape[1::-1])
            both = np.hstack([page, np.repeat(grey[..., None], page.shape[2], 2)])
            if self.about["format"] == "RGB":
                both = both[..., ::-1]
            with replacing(self.output_dir / "teacher_map.png") as stream:
                stream.write(cv2.imencode(".png", both)[1].tobytes())

    def page_map(self, item: dict) -> tuple[np.ndarray, np.ndarray]:
        """A whole page at the teacher's own size (h, w, C) uint8, and its map of probabilities.

        Args:
            item: a dict with `file_name`, as `Task.training_dicts` gives it.

        Raises:
            UserError: the page cannot be read.
        """
        page = read_for(item, format=self.about["format"])
        height, width = page.shape[:2]
        size = self._page_size(height, width)
        page = warp(page, np.diag([size[1] / width, size[0] / height, 1.0]), size)
        page = page.reshape(*size, -1)
        image = torch.from_numpy(np.ascontiguousarray(page.transpose(2, 0, 1)))
        found = self.file.run(self._normalised([image]))
        return page, self._probability(found)[0, 0].numpy()

    def _half_map(self, item: dict) -> np.ndarray:
        """The map of a page at stride 2 of the teacher's input or coarser."""
        values = self.page_map(item)[1]
        factor = max(1, STRIDE // self.about["stride"])
        small = (values.shape[1] // factor, values.shape[0] // factor)
        return cv2.resize(values, small, interpolation=cv2.INTER_AREA)

    def _page_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which the teacher reads a page, by `size` and `multiple`."""
        rule, multiple, scale = self.about["size"], self.about["multiple"], 1.0
        if rule != "as_is":
            scale = max(scale, rule.get("least_short_side", 0) / min(height, width))
            scale = min(scale, rule.get("most_long_side", np.inf) / max(height, width))
        sides = (max(1, round(side * scale / multiple)) * multiple for side in (height, width))
        return tuple(sides)

    @torch.no_grad()
    def observe(
        self, batch: list[dict], boxes: Sequence[Tensor] | None, needs: frozenset[str]
    ) -> Outputs:
        """Returns the answers that the mapper has put into the batch, or else runs the model."""
        answers = [item.get(ANSWER) for item in batch]
        found: dict[str, Tensor] = {}
        if None in answers:
            found = self.file.run(self._normalised([self._turned(item["image"]) for item in batch]))
        if self.about.get("maps") and None in answers:
            values = self._probability(found).numpy()
            answers = [self._cut(item, own[0]) for item, own in zip(batch, values, strict=True)]
        maps = padded(answers) if self.about.get("maps") else {}
        return Outputs(dense=self._dense(found), maps=maps)

    def _cut(self, item: dict, probability: np.ndarray) -> dict[str, Tensor]:
        """The answer of one image of a padded batch."""
        rows, columns = (-(-side // self.about["stride"]) for side in item["image"].shape[-2:])
        return self.answer(item, np.ascontiguousarray(probability[:rows, :columns]))

    def _probability(self, found: dict[str, Tensor]) -> Tensor:
        """The text map (N, 1, h, w) as probabilities."""
        value = found[self.about["maps"]["text"]]
        return value if "text" in self.about.get("probabilities", ()) else value.sigmoid()

    def _dense(self, found: dict[str, Tensor]) -> Dense | None:
        if not self.about.get("dense"):
            return None
        parts = {
            key: tuple(found[name] for name in names) for key, names in self.about["dense"].items()
        }
        return Dense(**{"deltas": (), **parts})

    def _turned(self, image: Tensor) -> Tensor:
        """A student's image (C, H, W) with the teacher's channels."""
        if self.about["format"] == self.student_format:
            return image
        if "L" in (self.about["format"], self.student_format):
            raise UserError(
                f"{self.file.path}: reads {self.about['format']} images, but INPUT.FORMAT is "
                f"{self.student_format}"
            )
        return image.flip(0)

    def _normalised(self, images: Sequence[Tensor]) -> np.ndarray:
        """(N, C, H, W) float32, normalised and padded with zeros at the right and bottom."""
        multiple = self.about["multiple"]
        mean, std = (torch.tensor(self.about[key]).view(-1, 1, 1) for key in ("mean", "std"))
        height, width = (
            -(-max(image.shape[axis] for image in images) // multiple) * multiple
            for axis in (-2, -1)
        )
        rows = [(image.cpu().float() - mean) / std for image in images]
        pads = ((0, width - each.shape[-1], 0, height - each.shape[-2]) for each in rows)
        return torch.stack([F.pad(*each) for each in zip(rows, pads, strict=True)]).numpy()


def onnx_teacher(cfg: CfgNode, student: nn.Module, *, source: Path) -> Teacher:
    """The ONNX teacher of a run.

    Raises:
        UserError: a file or a key of DISTILL.TEACHER is wrong.
    """
    node = cfg.DISTILL.TEACHER
    if node.SHRINK not in MODES:
        raise UserError(
            f"{source}: DISTILL.TEACHER.SHRINK is {node.SHRINK}; choose {' or '.join(MODES)}"
        )
    file = OnnxFile(node.ONNX)
    folders = {
        "cache": None if node.CACHE == "none" else project_path(node.CACHE),
        "output_dir": Path(cfg.OUTPUT_DIR),
    }
    if file.about.get("frames"):
        charset = getattr(student, "charset", None)
        if charset is None:
            raise UserError(f"{source}: {file.path} reads lines, but the student has no charset")
        return OnnxReader(
            file,
            charset,
            student_format=cfg.INPUT.FORMAT,
            validation=cfg.DATASETS.VAL,
            **folders,
        )
    answer = TextAnswer(node.SHRINK, label_maker(cfg))
    return OnnxTeacher(file, student_format=cfg.INPUT.FORMAT, answer=answer, **folders)
