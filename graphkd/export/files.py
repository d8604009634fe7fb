"""Writes and opens ONNX, TorchScript and OpenVINO files of any network, and quantises to eight
bits. A task describes its network with a `Signature`.
"""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision  # noqa: F401  (a TorchScript file calls its operators)
from torch import Tensor, nn

from graphkd.errors import UserError
from graphkd.modelfile import Header, read_header
from graphkd.weight_files import KEY

# RoIAlign with half pixels needs 16 or more, antialiased Resize needs 18.
OPSET = 18

# Runs a network; inputs and outputs have the order of its `Signature`.
Call = Callable[..., tuple[np.ndarray, ...]]


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of an exported network.

    Attributes:
        inputs: name -> variable axes as index -> name, such as {0: "N"}, in the order of the
            network's arguments.
        outputs: name -> variable axes, in the order of the network's outputs.
        example: inputs for tracing with unusual sizes. If the tracer makes a size a constant of
            the graph, the comparison shows it.
        exact: nodes whose names contain one of these stay float32 in eight-bit files.
        weights_only: eight-bit files compute in float32 with rounded weights.
    """

    inputs: Mapping[str, Mapping[int, str]]
    outputs: Mapping[str, Mapping[int, str]]
    example: tuple[Tensor, ...]
    exact: tuple[str, ...] = ()
    weights_only: bool = False


def write_onnx(path: Path, network: nn.Module, signature: Signature, header: Header) -> None:
    """Writes an ONNX file with the header under the key `graphkd` of its metadata.

    This uses PyTorch's older exporter (TorchScript), which supports RoIAlign, and loops and lists
    of variable length.

    Args:
        path: the file to write.
        network: the network in eval mode on the CPU.
        signature: its signature.
        header: the header of the file.

    Raises:
        UserError: the package onnx is missing, or a part of the network cannot be exported.
    """
    onnx = _package("onnx")
    named = {**signature.inputs, **signature.outputs}
    with _exporting():
        torch.onnx.export(
            network,
            signature.example,
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(signature.inputs),
            output_names=list(signature.outputs),
            dynamic_axes={name: dict(axes) for name, axes in named.items()},
        )
    _set_header(onnx, path, header)


def write_torchscript(path: Path, network: nn.Module, signature: Signature, header: Header) -> None:
    """Writes a TorchScript file with the header as its extra file `graphkd`.

    To load it, torch and `import torchvision` are needed, because it may use torchvision's
    operators.

    Raises:
        UserError: a part of the network cannot be exported.
    """
    with _exporting():
        traced = torch.jit.trace(network, signature.example, check_trace=False)
        torch.jit.save(torch.jit.freeze(traced), str(path), _extra_files={KEY: header.text()})


def write_openvino(path: Path, onnx_file: Path, header: Header, *, half: bool) -> None:
    """Converts an ONNX file to an OpenVINO model: `path` (.xml) and its weights beside it (.bin).

    The header is stored under `graphkd` in the model's rt_info.

    Args:
        path: the .xml file.
        onnx_file: the result of `write_onnx` or `write_int8` for a network made for OpenVINO.
        header: the header of the file.
        half: store weights as float16.

    Raises:
        UserError: the package openvino is missing, or cannot read the file.
    """
    openvino = _package("openvino")
    try:
        # Not convert_model, which takes seconds longer and sends usage data.
        model = openvino.Core().read_model(str(onnx_file))
    except Exception as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"OpenVINO cannot read this model ({first}); use --to onnx") from error
    model.set_rt_info(header.text(), [KEY])
    openvino.save_model(model, str(path), compress_to_fp16=half)


def write_int8(
    path: Path,
    onnx_file: Path,
    signature: Signature,
    header: Header,
    *,
    inputs: Iterable[tuple[np.ndarray, ...]],
) -> None:
    """Writes an ONNX file with eight-bit convolutions and matrix products (QDQ, per channel).

    Args:
        path: the file to write.
        onnx_file: the float32 file from `write_onnx`.
        signature: the signature of the network.
        header: the header of the new file.
        inputs: inputs of the network, from which the ranges of activations are measured.

    Raises:
        UserError: the package onnx or onnxruntime is missing.
    """
    onnx, _ = _package("onnx"), _package("onnxruntime")
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.inputs = iter(inputs)

        def get_next(self) -> dict | None:
            batch = next(self.inputs, None)
            return None if batch is None else dict(zip(signature.inputs, batch, strict=True))

    nodes = [node.name for node in onnx.load(str(onnx_file)).graph.node]
    root = logging.getLogger()
    root.addFilter(_no_advice)
    try:
        quantize_static(
            str(onnx_file),
            str(path),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[n for n in nodes if any(part in n for part in signature.exact)],
        )
    finally:
        root.removeFilter(_no_advice)
    _set_header(onnx, path, header)


def write_int8_weights(path: Path, onnx_file: Path, header: Header) -> None:
    """Writes an ONNX file whose convolutions and matrix products have eight-bit weights.

    The weights are symmetric and rounded by output channel; everything is computed in float32. Text
    recognisers lose ten times less by it than by eight-bit activations, and the file is no larger.

    Args:
        path: the file to write.
        onnx_file: the float32 file from `write_onnx`.
        header: the header of the new file.

    Raises:
        UserError: the package onnx is missing.
    """
    onnx = _package("onnx")
    model = onnx.load(str(onnx_file))
    graph, found = model.graph, {value.name: value for value in model.graph.initializer}
    for node in [each for each in graph.node if each.op_type in ("Conv", "Gemm", "MatMul")]:
        stored = found.pop(node.input[1], None)
        if stored is None:
            continue
        weight = onnx.numpy_helper.to_array(stored)
        axis = 0 if node.op_type == "Conv" else weight.ndim - 1
        others = tuple(place for place in range(weight.ndim) if place != axis)
        scale = np.maximum(np.abs(weight).max(others), 1e-12).astype(np.float32) / 127
        rounded = np.rint(weight / np.expand_dims(scale, others)).astype(np.int8)
        names = [f"{stored.name}_int8", f"{stored.name}_scale"]
        parts = zip((rounded, scale), names, strict=True)
        graph.initializer.extend(onnx.numpy_helper.from_array(part, name) for part, name in parts)
        graph.initializer.remove(stored)
        again = onnx.helper.make_node("DequantizeLinear", names, [stored.name], axis=axis)
        graph.node.insert(0, again)
    onnx.save(model, str(path))
    _set_header(onnx, path, header)


def open_torchscript(path: Path) -> tuple[Header, Call]:
    """The header of a TorchScript file of this project, and a function that runs it.

    Raises:
        UserError: another kind of file, or a damaged one.
    """
    extra = {KEY: ""}
    try:
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
        text = extra[KEY]
        header = read_header(text.decode() if isinstance(text, bytes) else text)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a TorchScript file of graphkd") from error

    def call(*inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        with torch.no_grad():
            found = module(*map(torch.from_numpy, inputs))
        return tuple(part.numpy() for part in ([found] if isinstance(found, Tensor) else found))

    return header, call


def open_openvino(path: Path) -> tuple[Header, Call]:
    """The header of an OpenVINO model (.xml, its .bin beside it), and a function that runs it.

    Raises:
        UserError: another kind of file, a damaged one, or the package openvino is missing.
    """
    openvino = _package("openvino")
    try:
        model = openvino.Core().read_model(str(path))
        header = read_header(model.get_rt_info([KEY]).astype(str))
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not an OpenVINO model of graphkd") from error
    # By default, OpenVINO computes in bfloat16 if the processor supports it.
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def call(*inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        found = compiled(list(inputs))
        return tuple(np.array(found[index]) for index in range(len(compiled.outputs)))

    return header, call


def _set_header(onnx, path: Path, header: Header) -> None:
    """Replaces the metadata of an ONNX file by the header."""
    model = onnx.load(str(path))
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=header.text())
    onnx.save(model, str(path))


def _package(name: str):
    try:
        return __import__(name)
    except ModuleNotFoundError as error:
        raise UserError(f"this needs the package {name}: pip install {name}") from error


@contextlib.contextmanager
def _exporting() -> Iterator[None]:
    """Hides the tracer's warnings, and reports an unsupported part as an error of one line.

    The warnings are about values that become constants; a wrong one shows in the comparison.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    except (RuntimeError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"this model has a part that cannot be exported ({first}); --to safetensors works for "
            "any model"
        ) from error
    finally:
        logger.setLevel(level)


def _no_advice(record: logging.LogRecord) -> bool:
    """Filters out onnxruntime's advice to preprocess the file, which a user cannot follow."""
    return "pre-processing before quantization" not in record.getMessage()
