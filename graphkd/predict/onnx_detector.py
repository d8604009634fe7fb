"""Models in `.onnx` files, run by onnxruntime without torch and Detectron2."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphkd.errors import UserError, one_line
from graphkd.modelfile import Header, read_header
from graphkd.predict.crops import INPUTS, OUTPUTS, CropReader
from graphkd.predict.detector import ExportedDetector, Predictor
from graphkd.predict.lines import LineDetector
from graphkd.weight_files import KEY

_BOXES = ("boxes", "scores", "classes", "image_index")


def layout_detector(name: str, header: Header, session: Any) -> ExportedDetector:
    """The layout detector of an onnxruntime session.

    Raises:
        UserError: inputs or outputs that are not those of a layout detector.
    """
    return ExportedDetector(name, header, _runner(name, session, _BOXES))


def line_detector(name: str, header: Header, session: Any) -> LineDetector:
    """The text detector of an onnxruntime session.

    Raises:
        UserError: inputs, outputs or settings that are not those of a text detector.
    """
    names = [value.name for value in session.get_outputs()]
    run = _runner(name, session, names)
    detector = LineDetector(name, header, lambda images: dict(zip(names, run(images), strict=True)))
    if not set(names).issuperset(detector.outputs):
        raise UserError(f"{name}: its outputs are not those of a graphkd text detector")
    return detector


def crop_reader(name: str, header: Header, session: Any) -> CropReader:
    """The text recogniser of an onnxruntime session.

    Raises:
        UserError: inputs, outputs or settings that are not those of a text recogniser.
    """
    run = _runner(name, session, OUTPUTS, inputs=INPUTS)
    return CropReader(name, header, lambda *inputs: dict(zip(OUTPUTS, run(*inputs), strict=True)))


def _runner(
    name: str, session: Any, names: Sequence[str], *, inputs: Sequence[str] = ("images",)
) -> Callable[..., Sequence[np.ndarray]]:
    """A function from the inputs to the named outputs of a session."""
    outputs = {value.name for value in session.get_outputs()}
    if {value.name for value in session.get_inputs()} != set(inputs) or not outputs.issuperset(
        names
    ):
        raise UserError(f"{name}: its inputs or outputs are not those of a graphkd model")

    def call(*arrays: np.ndarray) -> Sequence[np.ndarray]:
        try:
            return session.run(names, dict(zip(inputs, arrays, strict=True)))
        except Exception as error:  # onnxruntime has an exception type for each status
            raise UserError(f"{name}: it cannot be run ({one_line(error)[:200]})") from error

    return call


# What runs the files of a task, made from file name, header and session.
PREDICTORS = {
    "layout": layout_detector,
    "text_detection": line_detector,
    "text_recognition": crop_reader,
}


def load_onnx(path: Path, *, device: str | None, threads: int | None = None) -> Predictor:
    """Reads an `.onnx` file of this project; its header names the task.

    Args:
        path: the file.
        device: None or "cpu" for the CPU; "cuda" needs the package onnxruntime-gpu.
        threads: number of threads; by default OMP_NUM_THREADS, else one per usable core.

    Raises:
        UserError: the file is missing or of another kind, or onnxruntime is missing or does not
            support the device.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    session = _open(path, device or "cpu", threads or _threads())
    try:
        header = read_header(session.get_modelmeta().custom_metadata_map.get(KEY, ""))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    if header.task not in PREDICTORS:
        raise UserError(
            f"{path}: a model for {header.task}; this version runs {', '.join(PREDICTORS)}"
        )
    if header.task == "text_recognition" and header.precision == "int8":
        # Its weights are rounded, its activations are not: made float32 once, not in every call.
        session = _open(path, device or "cpu", threads or _threads(), float_weights=True)
    return PREDICTORS[header.task](path.name, header, session)


def _open(path: Path, device: str, threads: int, *, float_weights: bool = False) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UserError(
            "an .onnx file needs the package onnxruntime: pip install onnxruntime"
        ) from error
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise UserError(f"--device {device}: name cpu, cuda or cuda:1")
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[kind]
    if provider not in onnxruntime.get_available_providers():
        raise UserError(
            "this onnxruntime cannot use a GPU; install onnxruntime-gpu or name --device cpu"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # only errors; warnings about shapes do not help a user
    if float_weights:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    settings = {"device_id": number or "0"} if kind == "cuda" else {}
    try:
        session = onnxruntime.InferenceSession(str(path), options, [(provider, settings)])
    except Exception as error:  # onnxruntime has an exception type for each status
        raise UserError(f"{path}: not a readable ONNX file ({one_line(error)[:200]})") from error
    if session.get_providers()[0] != provider:  # onnxruntime falls back to the CPU by itself
        raise UserError(f"--device {device}: onnxruntime cannot use this GPU; name --device cpu")
    return session


def _threads() -> int:
    """OMP_NUM_THREADS, else the number of usable cores."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) > 0 else usable_cores()


def usable_cores() -> int:
    """The number of cores that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1
