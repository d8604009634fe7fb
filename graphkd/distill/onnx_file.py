"""An ONNX file of any origin, and the yaml beside it that describes its input and outputs.

A teacher's model must output a text map, frames of text lines or dense head maps. Final boxes and
texts cannot be used: they are labels, not `Outputs`.

`teacher.onnx` needs a `teacher.yaml`. Nothing about the input is guessed:

    input: x                        # name of its input, (N, C, H, W) float32
    format: RGB                     # or BGR, L
    mean: [123.7, 116.3, 103.5]     # in 0..255, subtracted
    std: [58.4, 57.1, 57.4]         # then divided by
    multiple: 32                    # sides of the input are multiples of it
    probabilities: [text]           # outputs (text, frames) that are probabilities, not logits
    classes: [text]                 # leave it out for the student's own
    licence: Apache-2.0             # recorded in the run's folder with the file's SHA-256, as is
    source: https://...             # where the file comes from

A text detector:

    maps: {text: sigmoid_0}         # the output with the text map (N, 1, h, w)
    stride: 1                       # pixels of the input per cell of the text map
    size: {least_short_side: 736, most_long_side: 2000}   # for whole pages; or as_is
    shrink: 0.4                     # the r of DB with which its labels were shrunk; may be left out
    dense: {logits: [c3, c4], deltas: [b3, b4], distributions: [d3, d4]}

A reader of text lines; the frames of CTC, class 0 is the blank:

    frames: softmax_0               # an output (N, T, C)
    height: 48                      # pixels of a line
    least_width: 320                # shorter lines are padded to it; may be left out
    charset: keys.txt               # one entry a line, beside the model; or metadata: NAME of a key
    space: True                     # whether a space follows as the last class

A reader that `graphkd export` wrote needs no yaml. Two names stand for models in the package
rapidocr (`pip install graphkd[teacher]`): `rapidocr` is its text detector, `rapidocr-rec` its
reader.
"""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from graphkd.config import find_file
from graphkd.errors import UserError
from graphkd.io import file_digest, write_json
from graphkd.modelfile import KEY, read_header

_ALWAYS = ("format", "mean", "std", "multiple")
_FOR = {"maps": ("stride", "size"), "frames": ("height", "charset")}
_NOT_USED = {"licence", "source", "shrink"}  # when the model is run
_KEYS = {*_ALWAYS, *(key for keys in _FOR.values() for key in keys), *_FOR, *_NOT_USED}
_KEYS |= {"input", "classes", "dense", "probabilities", "least_width", "space"}
_SIZES = {"least_short_side", "most_long_side"}
_RAPIDOCR = {
    "input": "x",
    "format": "BGR",
    "mean": [127.5, 127.5, 127.5],
    "std": [127.5, 127.5, 127.5],
    "licence": "Apache-2.0",
    "source": "PP-OCR (PaddlePaddle), as converted in the package rapidocr",
}
# Name -> the files in rapidocr's folder, and their description. The preprocessing is that of
# rapidocr's own code, except that small pages are not enlarged and the largest are as large as the
# largest inputs of students. The detector's maps agree best with labels of r = 0.6, on receipts,
# pages of books and street photos alike [measured].
BUILT_IN = {
    "rapidocr": (
        "*_det_*.onnx",
        {
            **_RAPIDOCR,
            "multiple": 32,
            "maps": {"text": "fetch_name_0"},
            "stride": 1,
            "size": {"most_long_side": 1600},
            "shrink": 0.6,
            "probabilities": ["text"],
        },
    ),
    "rapidocr-rec": (
        "*_rec_*.onnx",
        {
            **_RAPIDOCR,
            "multiple": 8,
            "frames": "fetch_name_0",
            "height": 48,
            "least_width": 320,
            "charset": {"metadata": "character"},
            "space": True,
            "probabilities": ["frames"],
        },
    ),
}


def find_onnx(name: str) -> Path:
    """The file of DISTILL.TEACHER.ONNX.

    Raises:
        UserError: there is no such file, or the package rapidocr is not installed.
    """
    if name not in BUILT_IN:
        path = find_file(name)
        if not path.is_file():
            raise UserError(f"DISTILL.TEACHER.ONNX: there is no file {path}")
        return path
    package = find_spec("rapidocr")
    if package is None:
        raise UserError(
            f"DISTILL.TEACHER.ONNX {name} needs the package rapidocr: pip install '.[teacher]'"
        )
    folder, pattern = Path(package.origin).parent / "models", BUILT_IN[name][0]
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise UserError(f"{folder} has {len(found)} files {pattern} instead of one")
    return found[0]


class OnnxFile:
    """An ONNX file on the CPU, or on the GPU if onnxruntime supports it.

    Attributes:
        path: the file.
        about: its description by key, as in the yaml.
        header: the header of a file that `graphkd export` wrote; None for other files.
    """

    def __init__(self, name: str | Path):
        """Opens the file of a path or of a name in `BUILT_IN`, and its description.

        Raises:
            UserError: one of the files is missing or damaged, or the description names an output
                that the file does not have.
        """
        import onnxruntime

        self.path = find_onnx(str(name))
        try:
            self.session = onnxruntime.InferenceSession(
                str(self.path), providers=onnxruntime.get_available_providers()
            )
        except Exception as error:
            raise UserError(f"{self.path}: onnxruntime cannot open it ({error})") from error
        self.metadata = self.session.get_modelmeta().custom_metadata_map
        self.header, beside = None, self.path.with_suffix(".yaml")
        if name in BUILT_IN:
            self.about = BUILT_IN[name][1]
        elif KEY in self.metadata and not beside.is_file():
            try:
                self.header = read_header(self.metadata[KEY])
            except ValueError as error:
                raise UserError(f"{self.path}: {error}") from None
            self.about = {"frames": "frames"}
        else:
            self.about = _read_description(beside)
        outputs = {output.name for output in self.session.get_outputs()}
        for output in self.outputs:
            if output not in outputs:
                known = ", ".join(sorted(outputs))
                raise UserError(f"{self.path}: has no output {output}; its outputs: {known}")

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs that the description names, sorted."""
        found = list(self.about.get("maps", {}).values())
        found += [self.about["frames"]] if self.about.get("frames") else []
        found += [name for part in self.about.get("dense", {}).values() for name in part]
        return sorted(set(found))

    @property
    def identity(self) -> str:
        """SHA-256 of the file and of the part of the description that changes its answers."""
        used = {key: self.about.get(key) for key in sorted(_KEYS - _NOT_USED)}
        return hashlib.sha256(
            file_digest(self.path).encode() + json.dumps(used).encode()
        ).hexdigest()

    def run(self, inputs: np.ndarray | dict[str, np.ndarray]) -> dict[str, Tensor]:
        """Output name -> float32 tensor, of `outputs`.

        Args:
            inputs: what its only input gets, (N, C, H, W) float32, or all inputs by name.
        """
        given = inputs if isinstance(inputs, dict) else {self.about["input"]: inputs}
        values = self.session.run(self.outputs, given)
        return {
            name: torch.from_numpy(np.ascontiguousarray(value)).float()
            for name, value in zip(self.outputs, values, strict=True)
        }

    def record(self, folder: Path) -> None:
        """Writes teacher.json: where the file comes from, its licence and checksum."""
        about = {key: self.about.get(key, "unknown") for key in ("licence", "source")}
        about |= {"file": self.path.name, "sha256": file_digest(self.path)}
        write_json(folder / "teacher.json", about)


def _read_description(path: Path) -> dict[str, Any]:
    """Reads the yaml beside an ONNX file; see the top of this file.

    Raises:
        UserError: it is missing or damaged, lacks a key or has an unknown one.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; an ONNX file needs a description of its outputs")
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
    needed = [*_ALWAYS, *(key for part, keys in _FOR.items() if about.get(part) for key in keys)]
    if missing := [key for key in needed if about.get(key) is None]:
        raise UserError(f"{path}: does not say {', '.join(missing)}; nothing is guessed")
    if about.get("maps") and set(about["maps"]) != {"text"}:
        raise UserError(f"{path}: maps must name the output of the text map alone: {{text: NAME}}")
    rule = about.get("size", "as_is")
    if rule != "as_is" and not (isinstance(rule, dict) and rule and set(rule) <= _SIZES):
        raise UserError(f"{path}: size must be as_is or have {' and '.join(sorted(_SIZES))}")
    return about
