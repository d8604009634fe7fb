"""A teacher from an ONNX file of any origin, described by a yaml file beside it.

The model must output a text map, frame logits or dense head maps. Final boxes and texts cannot be
used: they are labels, not `Outputs`.

`teacher.onnx` needs a `teacher.yaml`. Nothing about the input is guessed:

    input: x                        # name of its input, (N, C, H, W) float32
    format: RGB                     # or BGR, L
    mean: [123.7, 116.3, 103.5]     # in 0..255, subtracted
    std: [58.4, 57.1, 57.4]         # then divided by
    multiple: 32                    # sides of the input are multiples of it
    maps: {text: sigmoid_0}         # the output with the text map (N, 1, h, w)
    stride: 1                       # pixels of the input per cell of the text map
    size: {least_short_side: 736, most_long_side: 2000}   # for whole pages; or as_is
    shrink: 0.4                     # the r of DB with which its labels were shrunk; may be left out
    probabilities: [text]           # those outputs that are probabilities, not logits
    frames: softmax_0               # Outputs.frames: an output (N, T, C)
    dense: {logits: [c3, c4], deltas: [b3, b4], distributions: [d3, d4]}
    classes: [text]                 # leave it out for the student's own
    licence: Apache-2.0             # recorded in the run's folder with the file's SHA-256, as is
    source: https://...             # where the file comes from

`DISTILL.TEACHER.ONNX: rapidocr` is the PP-OCR text detector in the package of this name
(`pip install graphkd[teacher]`).
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from detectron2.config import CfgNode
from torch import Tensor
from torch.nn import functional as F

from graphkd.config import find_file, project_path
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
from graphkd.distill.outputs import Dense, Outputs
from graphkd.distill.outputs import Sequence as FrameLogits
from graphkd.distill.teacher import Teacher
from graphkd.errors import UserError
from graphkd.io import file_digest, replacing, write_json
from graphkd.modeling.maps.labels import label_maker

_ALWAYS = ("format", "mean", "std", "multiple")
_FOR_MAPS = ("stride", "size")
_KEYS = {*_ALWAYS, *_FOR_MAPS, "input", "classes", "maps", "frames", "dense", "probabilities"}
_KEYS |= {"shrink", "licence", "source"}
_SIZES = {"least_short_side", "most_long_side"}
# Probabilities of exactly 0 have no finite logarithm.
_LEAST_PROBABILITY = 1e-6
# A map whose values lie closer together than this on all of the first pages teaches nothing.
_LEAST_RANGE, _FIRST_PAGES = 0.01, 8
# The preprocessing of rapidocr's own code, except that small pages are not enlarged and the largest
# are as large as the largest inputs of students. Its maps agree best with labels of r = 0.6, on
# receipts, pages of books and street photos alike [measured].
RAPIDOCR = {
    "input": "x",
    "format": "BGR",
    "mean": [127.5, 127.5, 127.5],
    "std": [127.5, 127.5, 127.5],
    "multiple": 32,
    "maps": {"text": "fetch_name_0"},
    "stride": 1,
    "size": {"most_long_side": 1600},
    "shrink": 0.6,
    "probabilities": ["text"],
    "licence": "Apache-2.0",
    "source": "PP-OCR (PaddlePaddle), as converted in the package rapidocr",
}


def find_onnx(name: str) -> Path:
    """The file of DISTILL.TEACHER.ONNX.

    Raises:
        UserError: there is no such file, or the package rapidocr is not installed.
    """
    if name != "rapidocr":
        path = find_file(name)
        if not path.is_file():
            raise UserError(f"DISTILL.TEACHER.ONNX: there is no file {path}")
        return path
    package = find_spec("rapidocr")
    if package is None:
        raise UserError(
            "DISTILL.TEACHER.ONNX rapidocr needs the package rapidocr: pip install '.[teacher]'"
        )
    folder = Path(package.origin).parent / "models"
    found = sorted(folder.glob("*_det_*.onnx"))
    if len(found) != 1:
        raise UserError(f"{folder} has {len(found)} text detectors (*_det_*.onnx) instead of one")
    return found[0]


class OnnxTeacher(Teacher):
    """Runs an ONNX file on the CPU, or on the GPU if onnxruntime supports it.

    The text maps of whole pages are computed once and cached, if there is a `cache`.
    """

    def __init__(
        self,
        name: str | Path,
        *,
        student_format: str = "BGR",
        cache: Path | None = None,
        answer: TextAnswer | None = None,
        output_dir: Path | None = None,
    ):
        """Opens the file and its description.

        Args:
            name: a path, or rapidocr.
            student_format: channel order of the student's batches.
            cache: the folder of cached text maps; None runs the model on every batch.
            answer: makes a teacher's answer out of a text map.
            output_dir: the run's folder, for `teacher.json` and `teacher_map.png`.

        Raises:
            UserError: one of the files is missing or damaged, or the description names an output
                that the file does not have.
        """
        import onnxruntime

        self.path, self.student_format = find_onnx(str(name)), student_format
        own = name == "rapidocr"
        self.about = RAPIDOCR if own else _read_description(self.path.with_suffix(".yaml"))
        self.cache, self.output_dir = cache, output_dir
        self.answer = answer or TextAnswer()
        self.answer.shrink = self.about.get("shrink")
        try:
            self._session = onnxruntime.InferenceSession(
                str(self.path), providers=onnxruntime.get_available_providers()
            )
        except Exception as error:
            raise UserError(f"{self.path}: onnxruntime cannot open it ({error})") from error
        self._outputs = {output.name for output in self._session.get_outputs()}
        for output in self._named_outputs():
            if output not in self._outputs:
                known = ", ".join(sorted(self._outputs))
                raise UserError(f"{self.path}: has no output {output}; its outputs: {known}")
        names = self.about.get("classes")
        self.classes = None if names is None else tuple(names)
        parts = ("maps", "frames", "dense")
        self.provides = frozenset(part for part in parts if self.about.get(part))

    def _named_outputs(self) -> list[str]:
        found = list(self.about.get("maps", {}).values())
        found += [self.about["frames"]] if self.about.get("frames") else []
        return found + [name for part in self.about.get("dense", {}).values() for name in part]

    def prepare(self, items: Sequence[dict], mapper: Callable[..., dict]) -> Callable[..., dict]:
        """Writes teacher.json and teacher_map.png, fills the cache, and returns a mapper that adds
        the cached answers to its items.

        Raises:
            UserError: the text map is constant, or a page cannot be read.
        """
        if self.output_dir is not None:
            self._record()
        if not self.about.get("maps") or not all("file_name" in item for item in items):
            return mapper
        self._check(items)
        if self.cache is None:
            return mapper
        used = {key: self.about.get(key) for key in sorted(_KEYS - {"licence", "source", "shrink"})}
        identity = hashlib.sha256(file_digest(self.path).encode() + json.dumps(used).encode())
        paths = MapCache(self.cache, identity.hexdigest()).fill(items, self._half_map)
        return CachedAnswers(mapper, paths, self.answer)

    def _record(self) -> None:
        about = {key: self.about.get(key, "unknown") for key in ("licence", "source")}
        about |= {"file": self.path.name, "sha256": file_digest(self.path)}
        write_json(self.output_dir / "teacher.json", about)

    def _check(self, items: Sequence[dict]) -> None:
        """Saves the first page that has text beside its map."""
        for item in items[:_FIRST_PAGES]:
            page, values = self.page_map(item)
            if np.ptp(values) >= _LEAST_RANGE:
                break
        else:
            raise UserError(
                f"{self.path}: its text map is constant ({values.min():.3f} to {values.max():.3f}) "
                "on the first pages; compare format, mean, std and maps with the model's own code"
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
        found = self._run(self._normalised([image]))
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
        device = batch[0]["image"].device
        answers = [item.get(ANSWER) for item in batch]
        found: dict[str, Tensor] = {}
        if None in answers:
            found = self._run(self._normalised([self._turned(item["image"]) for item in batch]))
        if self.about.get("maps") and None in answers:
            values = self._probability(found).numpy()
            answers = [self._cut(item, own[0]) for item, own in zip(batch, values, strict=True)]
        maps = padded(answers) if self.about.get("maps") else {}
        found = {name: each.to(device) for name, each in found.items()}
        dense, frames = self._head_outputs(found)
        return Outputs({}, dense, maps={k: v.to(device) for k, v in maps.items()}, frames=frames)

    def _cut(self, item: dict, probability: np.ndarray) -> dict[str, Tensor]:
        """The answer of one image of a padded batch."""
        rows, columns = (-(-side // self.about["stride"]) for side in item["image"].shape[-2:])
        return self.answer(item, np.ascontiguousarray(probability[:rows, :columns]))

    def _run(self, images: np.ndarray) -> dict[str, Tensor]:
        names = sorted(set(self._named_outputs()))
        values = self._session.run(names, {self.about["input"]: images})
        return {
            name: torch.from_numpy(np.ascontiguousarray(value)).float()
            for name, value in zip(names, values, strict=True)
        }

    def _probability(self, found: dict[str, Tensor]) -> Tensor:
        """The text map (N, 1, h, w) as probabilities."""
        value = found[self.about["maps"]["text"]]
        return value if "text" in self.about.get("probabilities", ()) else value.sigmoid()

    def _head_outputs(self, found: dict[str, Tensor]) -> tuple[Dense | None, FrameLogits | None]:
        dense = frames = None
        if self.about.get("dense"):
            parts = {
                key: tuple(found[name] for name in names)
                for key, names in self.about["dense"].items()
            }
            dense = Dense(**{"deltas": (), **parts})
        if self.about.get("frames"):
            value = found[self.about["frames"]]
            if "frames" in self.about.get("probabilities", ()):
                value = value.clamp(min=_LEAST_PROBABILITY).log()
            frames = FrameLogits(value)
        return dense, frames

    def _turned(self, image: Tensor) -> Tensor:
        """A student's image (C, H, W) with the teacher's channels."""
        if self.about["format"] == self.student_format:
            return image
        if "L" in (self.about["format"], self.student_format):
            raise UserError(
                f"{self.path}: reads {self.about['format']} images, but INPUT.FORMAT is "
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


def onnx_teacher(cfg: CfgNode, *, source: Path) -> OnnxTeacher:
    """The ONNX teacher of a run.

    Raises:
        UserError: a file or a key of DISTILL.TEACHER is wrong.
    """
    node = cfg.DISTILL.TEACHER
    if node.SHRINK not in MODES:
        raise UserError(
            f"{source}: DISTILL.TEACHER.SHRINK is {node.SHRINK}; choose {' or '.join(MODES)}"
        )
    return OnnxTeacher(
        node.ONNX,
        student_format=cfg.INPUT.FORMAT,
        cache=None if node.CACHE == "none" else project_path(node.CACHE),
        answer=TextAnswer(node.SHRINK, label_maker(cfg)),
        output_dir=Path(cfg.OUTPUT_DIR),
    )


def _read_description(path: Path) -> dict[str, Any]:
    """Reads the yaml beside an ONNX teacher; see the top of this file.

    Raises:
        UserError: it is missing or damaged, lacks a key or has an unknown one.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; an ONNX teacher needs a description of its outputs")
    try:
        about = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable ({' '.join(str(error).split())})") from error
    if not isinstance(about, dict) or not isinstance(about.get("input"), str):
        raise UserError(f"{path}: names no input; write `input: NAME`")
    if unknown := set(about) - _KEYS:
        raise UserError(f"{path}: unknown key {', '.join(sorted(unknown))}")
    if not any(about.get(key) for key in ("maps", "frames", "dense")):
        raise UserError(f"{path}: names no output; write maps, frames or dense")
    needed = (*_ALWAYS, *(_FOR_MAPS if about.get("maps") else ()))
    if missing := [key for key in needed if about.get(key) is None]:
        raise UserError(f"{path}: does not say {', '.join(missing)}; nothing is guessed")
    if about.get("maps") and set(about["maps"]) != {"text"}:
        raise UserError(f"{path}: maps must name the output of the text map alone: {{text: NAME}}")
    rule = about.get("size", "as_is")
    if rule != "as_is" and not (isinstance(rule, dict) and rule and set(rule) <= _SIZES):
        raise UserError(f"{path}: size must be as_is or have {' and '.join(sorted(_SIZES))}")
    return about
