"""What the user may ask of an export, checked; nothing is read or written."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from graphkd.errors import UserError
from graphkd.export.parity import Limits

SUFFIX = {"onnx": ".onnx", "torchscript": ".pt", "openvino": ".xml", "safetensors": ".safetensors"}
# What the coarser ones cost is measured in docs/export.md.
EXACT = Limits(ap=0.1, box=0.001, unmatched=0.02)
SIXTEEN_BITS = Limits(ap=1.0, box=0.001, unmatched=0.02)
EIGHT_BITS = Limits(ap=1.5, box=0.005, unmatched=0.05)
MOST_PAGES = 200


@dataclass(frozen=True)
class Options:
    """An export as asked for.

    Attributes:
        weights: `.pth` or `.safetensors`.
        to: a key of SUFFIX.
        out: the file; None puts it beside `weights`.
        int8: eight-bit convolutions (onnx and openvino).
        half: float16 weights (safetensors and openvino); None: as is usual, True for safetensors.
        calibrate: folder or data set for the ranges of `int8`; None: generated pages.
        pages: folder or data set for the comparison; None: generated pages.
        most: greatest number of pages taken from a folder or data set.
        tolerance: greatest difference of COCO AP in points; None: 0.1, 1.5 with
            `int8`, 1 with `half` in OpenVINO.
        score: shown score of all classes; None keeps the model's.
        by_class: shown score of single classes.
        config: the run's yaml, for a `.pth` without one.
        trust: unpickle a `.pth` in full.
    """

    weights: Path
    to: str = "onnx"
    out: Path | None = None
    int8: bool = False
    half: bool | None = None
    calibrate: str | None = None
    pages: str | None = None
    most: int = MOST_PAGES
    tolerance: float | None = None
    score: float | None = None
    by_class: Mapping[str, float] = field(default_factory=dict)
    config: Path | None = None
    trust: bool = False

    @property
    def target(self) -> Path:
        """The file to write."""
        if self.out is not None:
            return self.out
        name = f"{self.weights.stem}{'-int8' if self.int8 else ''}{SUFFIX[self.to]}"
        return self.weights.with_name(name)

    @property
    def limits(self) -> Limits:
        """What the export may differ by."""
        usual = EXACT
        if self.int8:
            usual = EIGHT_BITS
        elif self.to == "openvino" and self.half:
            usual = SIXTEEN_BITS
        if self.tolerance is None:
            return usual
        return Limits(ap=self.tolerance, box=usual.box, unmatched=usual.unmatched)


def check_options(options: Options) -> None:
    """Refuses what cannot be done, before anything heavy is loaded.

    Raises:
        UserError: options that do not go together or are out of range, or a file that cannot be
            written there.
    """
    if options.to not in SUFFIX:
        raise UserError(f"--to {options.to}: choose one of {', '.join(SUFFIX)}")
    if options.int8 and options.to not in ("onnx", "openvino"):
        raise UserError(f"--int8 is for onnx and openvino, not for {options.to}")
    if options.half is not None and options.to not in ("safetensors", "openvino"):
        raise UserError(f"--half and --float32 are for safetensors and openvino, not {options.to}")
    if options.half and options.int8:
        raise UserError("--half and --int8: choose one")
    if options.calibrate is not None and not options.int8:
        raise UserError("--calibrate is for --int8")
    if options.most < 1:
        raise UserError(f"--most {options.most}: at least one page is needed")
    tolerance = options.tolerance
    if tolerance is not None and not (math.isfinite(tolerance) and 0 <= tolerance <= 100):
        raise UserError(f"--tolerance {tolerance}: AP points in 0..100 are meant")
    _check_target(options)


def _check_target(options: Options) -> None:
    target = options.target
    if target.suffix != SUFFIX[options.to]:
        raise UserError(f"-o {target}: a file for --to {options.to} ends in {SUFFIX[options.to]}")
    if target.is_dir():
        raise UserError(f"-o {target}: a folder; name a file")
    if not target.parent.is_dir():
        raise UserError(f"-o {target}: there is no folder {target.parent}")
    if target.resolve() == options.weights.resolve():
        raise UserError(f"-o {target}: this is the model itself; name another file")
