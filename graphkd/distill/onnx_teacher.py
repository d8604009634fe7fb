"""A teacher from an ONNX file of any origin, described by a yaml file beside it.

The model must output per-pixel maps, frame logits or dense head maps. Final boxes and texts cannot
be used: they are labels, not `Outputs`.

`teacher.onnx` needs a `teacher.yaml`:

    input: x                        # name of its input, (N, C, H, W) float32
    format: RGB                     # or BGR, L
    mean: [123.7, 116.3, 103.5]     # in 0..255, subtracted
    std: [58.4, 57.1, 57.4]         # then divided by
    multiple: 32                    # images are padded at the right and bottom to a multiple
    classes: [text]                 # leave it out for the student's own
    maps: {text: sigmoid_0}         # Outputs.maps: name -> output
    probabilities: [text]           # those outputs that are probabilities, not logits
    frames: softmax_0               # Outputs.frames: an output (N, T, C)
    dense: {logits: [c3, c4], deltas: [b3, b4], distributions: [d3, d4]}
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.outputs import Dense, Outputs
from graphkd.distill.outputs import Sequence as FrameLogits
from graphkd.distill.teacher import Teacher
from graphkd.errors import UserError

_KEYS = {"input", "format", "mean", "std", "multiple", "classes", "maps", "frames", "dense"}
_KEYS |= {"probabilities"}
# Probabilities of exactly 0 or 1 have no finite logit.
_LEAST_PROBABILITY = 1e-6
# Key of the teacher's outputs in batch items for which the mapper has computed them already.
ANSWER = "teacher_answer"


class OnnxTeacher(Teacher):
    """Runs an ONNX file on the CPU, or on the GPU if onnxruntime supports it."""

    def __init__(self, path: Path, *, student_format: str = "BGR"):
        """Opens the file and its description.

        Raises:
            UserError: one of the two is missing or damaged, or the description names an output
                that the file does not have.
        """
        import onnxruntime

        self.path, self.student_format = path, student_format
        self.about = _read_description(path.with_suffix(".yaml"))
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), providers=onnxruntime.get_available_providers()
            )
        except Exception as error:
            raise UserError(f"{path}: onnxruntime cannot open it ({error})") from error
        self._outputs = {output.name for output in self._session.get_outputs()}
        for name in self._named_outputs():
            if name not in self._outputs:
                known = ", ".join(sorted(self._outputs))
                raise UserError(f"{path}: has no output {name}; its outputs: {known}")
        names = self.about.get("classes")
        self.classes = None if names is None else tuple(names)
        parts = {"maps": "maps", "frames": "frames", "dense": "dense"}
        self.provides = frozenset(part for key, part in parts.items() if self.about.get(key))

    def _named_outputs(self) -> list[str]:
        found = list(self.about.get("maps", {}).values())
        found += [self.about["frames"]] if self.about.get("frames") else []
        return found + [name for part in self.about.get("dense", {}).values() for name in part]

    @torch.no_grad()
    def observe(
        self, batch: list[dict], boxes: Sequence[Tensor] | None, needs: frozenset[str]
    ) -> Outputs:
        """Returns the outputs that the mapper has put into the batch, or else runs the model."""
        device = batch[0]["image"].device
        if all(ANSWER in item for item in batch):
            maps = {
                name: torch.stack([item[ANSWER][name] for item in batch]).to(device)
                for name in batch[0][ANSWER]
            }
            return Outputs(maps=maps)
        images = self._prepare([item["image"] for item in batch])
        names = sorted(set(self._named_outputs()))
        values = self._session.run(names, {self.about["input"]: images})
        found = {
            name: torch.from_numpy(np.ascontiguousarray(value)).float().to(device)
            for name, value in zip(names, values, strict=True)
        }
        return self._as_outputs(found)

    def _as_outputs(self, found: dict[str, Tensor]) -> Outputs:
        maps = {}
        for name, output in self.about.get("maps", {}).items():
            value = found[output]
            if name in self.about.get("probabilities", ()):
                value = torch.logit(value, eps=_LEAST_PROBABILITY)
            maps[name] = value
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
        return Outputs(maps=maps, dense=dense, frames=frames)

    def _prepare(self, images: list[Tensor]) -> np.ndarray:
        """(N, C, H, W) float32, normalised and padded with zeros at the right and bottom."""
        multiple = self.about.get("multiple", 1)
        mean = torch.tensor(self.about.get("mean", [0.0])).view(-1, 1, 1)
        std = torch.tensor(self.about.get("std", [1.0])).view(-1, 1, 1)
        sides = [
            -(-max(image.shape[axis] for image in images) // multiple) * multiple
            for axis in (-2, -1)
        ]
        rows = []
        for image in images:
            image = image.cpu().float()
            if self.about.get("format", "RGB") != self.student_format:
                image = image.flip(0)
            image = (image - mean) / std
            pads = (0, sides[1] - image.shape[-1], 0, sides[0] - image.shape[-2])
            rows.append(F.pad(image, pads))
        return torch.stack(rows).numpy()


def _read_description(path: Path) -> dict:
    """Reads the yaml beside an ONNX teacher; see the top of this file.

    Raises:
        UserError: it is missing or damaged, has an unknown key, or names no output.
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
    return about
