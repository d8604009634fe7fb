"""`graphkd export`: writes a trained model to a file, and compares the file with the model.

A task provides an `Exporter`; file formats, quantisation and replacing of older files are the same
for all tasks.
"""

import contextlib
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from graphkd.errors import UserError
from graphkd.export.files import (
    Signature,
    write_int8,
    write_int8_weights,
    write_onnx,
    write_openvino,
    write_torchscript,
)
from graphkd.modelfile import Header, ModelFile, read_model, write_safetensors
from graphkd.tasks.base import task_named

SUFFIX = {"onnx": ".onnx", "torchscript": ".pt", "openvino": ".xml", "safetensors": ".safetensors"}
MOST_PAGES = 200


@dataclass(frozen=True)
class ExportOptions:
    """The options of an export.

    Attributes:
        weights: the `.pth` or `.safetensors` of the model.
        to: a key of SUFFIX.
        out: the file to write; None for a file beside `weights`.
        int8: eight-bit convolutions (onnx and openvino).
        half: float16 weights (safetensors and openvino); None for the default, which is True only
            for safetensors.
        calibrate: folder or data set for the calibration of `int8`; None for generated pages.
        pages: folder or data set for the comparison; None for generated pages.
        most: largest number of pages that are used of a folder or data set.
        tolerance: largest allowed difference of the primary metric; None for the default of the
            `precision`.
        budget: greatest size of the file in bytes; None for the default of the task.
        score: lowest shown score of all classes; None keeps that of the model.
        by_class: lowest shown scores of single classes.
        config: the run's yaml, for a `.pth` without a config.
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
    budget: int | None = None
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
    def precision(self) -> str:
        """How close the file can be to the model: "exact", "half" or "int8".

        A safetensors file with float16 weights is "exact", because it is computed in float32.
        OpenVINO may compute in float16.
        """
        if self.int8:
            return "int8"
        return "half" if self.to == "openvino" and self.half else "exact"


@dataclass(frozen=True)
class Comparison:
    """The comparison of a trained model with its export on the same inputs.

    Attributes:
        numbers: name -> value, for json.
        limits: name -> largest allowed value.
        lines: the numbers as sentences.
        faults: reasons why the file must not be used; empty if there are none.
    """

    numbers: Mapping[str, Any]
    limits: Mapping[str, float]
    lines: tuple[str, ...]
    faults: tuple[str, ...]


class Exporter(Protocol):
    """The export of one model of a task; returned by `Task.export`.

    Attributes:
        signature: inputs and outputs of the network.
        budget: greatest size of the file in bytes where the options name none; None for no limit.
    """

    signature: Signature
    budget: int | None

    def header(self, options: ExportOptions) -> Header:
        """The header of the file; the caller sets `config` and `precision`."""
        ...

    def network(self, *, for_openvino: bool) -> nn.Module:
        """The trained network in eval mode on the CPU, with the inputs and outputs of the
        signature. `for_openvino` avoids operators that OpenVINO computes differently.
        """
        ...

    def calibration(self, options: ExportOptions, *, progress: bool) -> Iterable[tuple]:
        """Tuples of the network's inputs, from which the ranges of activations are measured."""
        ...

    def samples(self, options: ExportOptions) -> Any:
        """The samples for the comparison, from `options.pages`."""
        ...

    def compare(
        self, path: Path, samples: Any, options: ExportOptions, *, progress: bool
    ) -> Comparison:
        """Compares a written file with the trained model on the samples."""
        ...


@dataclass(frozen=True)
class Result:
    """The result of an export.

    Attributes:
        path: the file; it does not exist if the comparison found faults.
        bytes: its size, including the .bin of an OpenVINO model.
        comparison: the comparison with the trained model.
        header: the header in the file.
    """

    path: Path
    bytes: int
    comparison: Comparison
    header: Header


def export(options: ExportOptions, *, progress: bool = True) -> Result:
    """Writes a trained model to a file, and keeps the file only if its results are close enough.

    An older file of this name is replaced in one step after the comparison.

    Args:
        options: the options.
        progress: show progress bars.

    Raises:
        UserError: contradictory options, unreadable weights or pages, a model that cannot be
            exported, or a missing package.
    """
    check_options(options)
    stored = read_model(options.weights, config=options.config, trust=options.trust)
    exporter: Exporter = task_named(stored.header.task).export(stored)
    if options.calibrate is not None and exporter.signature.weights_only:
        raise UserError("--calibrate is for detectors; of this model only weights are rounded")
    precision = "int8" if options.int8 else "float32"
    header = replace(exporter.header(options), config="", precision=precision)
    samples = exporter.samples(options)
    target = options.target
    with _folder_beside(target) as folder:
        path = folder / target.name
        _write(path, options, stored, exporter, header, progress=progress)
        written = _files(path)
        size = sum(file.stat().st_size for file in written)
        comparison = exporter.compare(path, samples, options, progress=progress)
        budget = exporter.budget if options.budget is None else options.budget
        if budget is not None and size > budget:
            fault = f"the file has {size_words(size)}, --budget is {size_words(budget)}"
            comparison = replace(comparison, faults=(*comparison.faults, fault))
        if not comparison.faults:
            for file in written:
                os.replace(file, target.with_name(file.name))
    return Result(target, size, comparison, header)


def size_words(size: int) -> str:
    """Bytes in MB (10^6) and MiB (2^20)."""
    return f"{size / 1e6:.2f} MB ({size / 2**20:.2f} MiB)"


def bytes_of(text: str) -> int:
    """Reads a size such as 10MiB, 4.5MB or 500000.

    Raises:
        UserError: another text.
    """
    found = re.fullmatch(r"([0-9.]+) *(MiB|MB|KiB|kB|)", text.strip())
    units = {"MiB": 2**20, "MB": 10**6, "KiB": 2**10, "kB": 10**3, "": 1}
    try:
        return int(float(found[1]) * units[found[2]])
    except (TypeError, ValueError):
        raise UserError(f"--budget {text!r}: write a size such as 10MiB or 4.5MB") from None


def report(options: ExportOptions, result: Result) -> dict:
    """The result of an export as values for json."""
    comparison = result.comparison
    return {
        "file": str(result.path),
        "kept": not comparison.faults,
        "faults": list(comparison.faults),
        "to": options.to,
        "int8": options.int8,
        "bytes": result.bytes,
        "thresholds": dict(result.header.thresholds),
        "limits": dict(comparison.limits),
        "parity": dict(comparison.numbers),
    }


def check_options(options: ExportOptions) -> None:
    """Checks the options before a model is loaded.

    Raises:
        UserError: options contradict each other or are out of range, or the file cannot be written.
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


def _check_target(options: ExportOptions) -> None:
    target = options.target
    if target.suffix != SUFFIX[options.to]:
        raise UserError(f"-o {target}: a file for --to {options.to} ends in {SUFFIX[options.to]}")
    if target.is_dir():
        raise UserError(f"-o {target}: a folder; name a file")
    if not target.parent.is_dir():
        raise UserError(f"-o {target}: there is no folder {target.parent}")
    if target.resolve() == options.weights.resolve():
        raise UserError(f"-o {target}: this is the model itself; name another file")


def _write(
    path: Path,
    options: ExportOptions,
    stored: ModelFile,
    exporter: Exporter,
    header: Header,
    *,
    progress: bool,
) -> None:
    if options.to == "safetensors":
        write_safetensors(path, stored, header=header, half=options.half is not False)
        return
    for_openvino, signature = options.to == "openvino", exporter.signature
    calibrated = options.int8 and not signature.weights_only
    inputs = exporter.calibration(options, progress=progress) if calibrated else ()
    network = exporter.network(for_openvino=for_openvino)
    if options.to == "torchscript":
        write_torchscript(path, network, signature, header)
        return
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "plain.onnx"
        write_onnx(plain, network, signature, header)
        if options.int8:
            quantised = Path(scratch) / "int8.onnx"
            if calibrated:
                write_int8(quantised, plain, signature, header, inputs=inputs)
            else:
                write_int8_weights(quantised, plain, header)
            plain = quantised
        if for_openvino:
            write_openvino(path, plain, header, half=options.half is True)
        else:
            shutil.move(plain, path)


@contextlib.contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """A temporary folder on the same disk, so that a file can be moved out of it in one step."""
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _files(path: Path) -> list[Path]:
    """The files of an export; the one that refers to the other comes last."""
    weights = path.with_suffix(".bin")
    return [weights, path] if path.suffix == ".xml" and weights.is_file() else [path]
