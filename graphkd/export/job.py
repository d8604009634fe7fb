"""One export from weights to a compared file; what the file holds is decided elsewhere."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from detectron2.config import CfgNode

from graphkd.errors import UserError
from graphkd.export.detectors import load_openvino, load_torchscript
from graphkd.export.network import ExportNetwork
from graphkd.export.options import Options, check_options
from graphkd.export.pages import (
    CALIBRATION_SEED,
    PARITY_SEED,
    Pages,
    generated_pages,
    named_pages,
)
from graphkd.export.parity import Parity, compare, faults
from graphkd.export.quantise import quantise
from graphkd.export.writers import write_onnx, write_openvino, write_torchscript
from graphkd.modelfile import Header, ModelFile, build_detector, read_model, write_safetensors
from graphkd.predict.detector import Detector
from graphkd.predict.onnx_detector import load_onnx
from graphkd.predict.thresholds import choose_thresholds
from graphkd.predict.torch_detector import TorchDetector

_GENERATED = 48
_CALIBRATION = 32
# Somewhat larger than the detector's input, so that resizing is part of the comparison, and no
# simple fraction of it: at 6 : 5 many pixels lie halfway between two grey levels, and programs
# round these differently.
_LARGER = 1.24
_LONGEST_PAGE = 2048


@dataclass(frozen=True)
class Result:
    """An export that was tried.

    Attributes:
        path: the file, which exists unless there are faults.
        bytes: its size, with the .bin of an OpenVINO model.
        parity: how close it comes.
        faults: why it was not kept; empty where it was.
        thresholds: as stored in it.
    """

    path: Path
    bytes: int
    parity: Parity
    faults: tuple[str, ...]
    thresholds: dict[str, float]


def export(options: Options, *, progress: bool = True) -> Result:
    """Writes a trained detector as a file, keeps it only if it finds what the detector finds.

    An older file of that name is replaced after the comparison, in one step.

    Args:
        options: see `Options`.
        progress: show bars.

    Raises:
        UserError: options that do not go together, unreadable weights or pages, a detector that
            cannot be exported, or a package that is missing.
    """
    check_options(options)
    stored = read_model(options.weights, config=options.config, trust=options.trust)
    thresholds = choose_thresholds(
        stored.classes,
        stored=stored.header.thresholds,
        score=options.score,
        by_class=options.by_class,
    )
    trained = TorchDetector(stored, device="cpu")
    _check_thresholds(options, thresholds, trained.floor)
    header = replace(
        stored.header,
        calibration={**stored.header.calibration, "thresholds": thresholds},
        score_floor=trained.floor,
        precision="int8" if options.int8 else "float32",
        config="",
    )
    pages = _pages(options.pages, stored, count=_GENERATED, seed=PARITY_SEED, most=options.most)
    target = options.target
    with _folder_beside(target) as folder:
        path = folder / target.name
        _write(path, options, stored, header, progress=progress)
        exported = _load(path, options.to)
        parity = compare(trained, exported, pages, progress=progress)
        found = tuple(faults(parity, options.limits))
        made = _files(path)
        size = sum(file.stat().st_size for file in made)
        if not found:
            for file in made:
                os.replace(file, target.with_name(file.name))
    return Result(target, size, parity, found, thresholds)


def report(options: Options, result: Result) -> dict:
    """Everything about an export as plain values for json."""
    return {
        "file": str(result.path),
        "kept": not result.faults,
        "faults": list(result.faults),
        "to": options.to,
        "int8": options.int8,
        "bytes": result.bytes,
        "thresholds": result.thresholds,
        "limits": asdict(options.limits),
        "parity": result.parity.numbers(),
    }


def _write(
    path: Path, options: Options, stored: ModelFile, header: Header, *, progress: bool
) -> None:
    if options.to == "safetensors":
        half = options.half is not False
        write_safetensors(path, stored, header=header, half=half)
        return
    network = ExportNetwork(build_detector(stored), stored.cfg).eval()
    if options.to == "torchscript":
        write_torchscript(path, network, header)
        return
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "plain.onnx"
        write_onnx(plain, network, header, for_openvino=options.to == "openvino")
        if options.int8:
            calibration = _pages(
                options.calibrate,
                stored,
                count=_CALIBRATION,
                seed=CALIBRATION_SEED,
                most=_CALIBRATION,
            )
            quantised = Path(scratch) / "quantised.onnx"
            quantise(plain, quantised, header, calibration, progress=progress)
            plain = quantised
        if options.to == "openvino":
            write_openvino(path, plain, header, half=options.half is True)
        else:
            shutil.move(plain, path)


def _load(path: Path, to: str) -> Detector:
    if to == "safetensors":
        return TorchDetector(read_model(path), device="cpu")
    if to == "torchscript":
        return load_torchscript(path)
    if to == "openvino":
        return load_openvino(path)
    return load_onnx(path, device=None)


def _pages(name: str | None, stored: ModelFile, *, count: int, seed: int, most: int) -> Pages:
    if name is not None:
        return named_pages(name, classes=stored.classes, most=most)
    long_side = _long_side(stored.cfg)
    return generated_pages(classes=stored.classes, count=count, seed=seed, long_side=long_side)


def _long_side(cfg: CfgNode) -> int:
    """Longer side of generated pages, in pixels."""
    if not cfg.INPUT.MIN_SIZE_TEST:
        return cfg.INPUT.MAX_SIZE_TEST
    return min(_LONGEST_PAGE, max(64, round(_LARGER * cfg.INPUT.MAX_SIZE_TEST)))


def _check_thresholds(options: Options, thresholds: dict[str, float], floor: float) -> None:
    """A score below what the detector gives at all would promise detections that never come."""
    asked = options.score is not None or options.by_class
    low = [name for name, score in thresholds.items() if score < floor]
    if asked and low:
        raise UserError(
            f"--score: this model gives no scores below {floor:g} (its SCORE_THRESH_TEST), "
            f"asked for {low[0]} is {thresholds[low[0]]:g}"
        )


@contextlib.contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """A folder on the same disk, gone afterwards: a moved file is there whole or not at all."""
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _files(path: Path) -> list[Path]:
    """The files of an export, the one that names the others last."""
    weights = path.with_suffix(".bin")
    return [weights, path] if path.suffix == ".xml" and weights.is_file() else [path]
