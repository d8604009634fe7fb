"""ONNX, TorchScript and OpenVINO files: writing a network, eight bits, opening a written file.

Nothing here knows what the network computes; a task says it with a `Signature`.
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
from graphkd.modelfile import KEY, Header, read_header

# The first with RoIAlign of half pixels is 16, the first with antialiased Resize is 18.
OPSET = 18

# Arrays in, the outputs of a `Signature` in its order out.
Call = Callable[[np.ndarray], tuple[np.ndarray, ...]]


@dataclass(frozen=True)
class Signature:
    """Input and outputs of an exported network.

    Attributes:
        input: name of the one input.
        axes: of the input, the variable ones: place -> name, such as {0: "N"}.
        outputs: name -> its variable axes, in the order of what the network returns.
        example: an input to trace with, of sizes that no page has: a size that the tracer wrote
            into the graph as a constant then shows up in the comparison.
        exact: parts of the names of nodes that stay float32 where the file gets eight bits.
    """

    input: str
    axes: Mapping[int, str]
    outputs: Mapping[str, Mapping[int, str]]
    example: Tensor
    exact: tuple[str, ...] = ()


def write_onnx(path: Path, network: nn.Module, signature: Signature, header: Header) -> None:
    """Writes one ONNX file with the header under the key `graphkd` of its metadata.

    The exporter is PyTorch's older one, from TorchScript: it knows RoIAlign, and keeps loops and
    lists of unknown length.

    Args:
        path: file to write.
        network: in eval mode on the CPU.
        signature: of the network.
        header: what the file says about itself.

    Raises:
        UserError: the package onnx is missing, or a part of the network cannot be exported.
    """
    onnx = _package("onnx")
    axes = {signature.input: dict(signature.axes)}
    axes |= {name: dict(own) for name, own in signature.outputs.items()}
    with _exporting():
        torch.onnx.export(
            network,
            (signature.example,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[signature.input],
            output_names=list(signature.outputs),
            dynamic_axes=axes,
        )
    _set_header(onnx, path, header)


def write_torchscript(path: Path, network: nn.Module, signature: Signature, header: Header) -> None:
    """Writes one TorchScript file with the header as its extra file `graphkd`.

    Loading it needs torch and `import torchvision`, whose operators it may call.

    Raises:
        UserError: a part of the network cannot be exported.
    """
    with _exporting():
        traced = torch.jit.trace(network, (signature.example,), check_trace=False)
        torch.jit.save(torch.jit.freeze(traced), str(path), _extra_files={KEY: header.text()})


def write_openvino(path: Path, onnx_file: Path, header: Header, *, half: bool) -> None:
    """Writes an OpenVINO model, `path` (.xml) and its weights beside it (.bin), from an ONNX file.

    The header is under `graphkd` in the model's rt_info.

    Args:
        path: the .xml.
        onnx_file: from `write_onnx` or `write_int8`, of a network made for OpenVINO.
        header: what the file says about itself.
        half: keep weights as float16.

    Raises:
        UserError: the package openvino is missing, or cannot read the file.
    """
    openvino = _package("openvino")
    try:
        # Not convert_model, which takes seconds longer and calls home.
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
    inputs: Iterable[np.ndarray],
) -> None:
    """Writes an ONNX file with eight-bit convolutions and matrix products (QDQ, per channel).

    Args:
        path: file to write.
        onnx_file: float32, from `write_onnx`.
        signature: of the network.
        header: what the new file says about itself.
        inputs: of the network, to see the ranges of activations on.

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
            return None if batch is None else {signature.input: batch}

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

    def call(inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        with torch.no_grad():
            found = module(torch.from_numpy(inputs))
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
    # Its own default may compute in bfloat16 where the processor can.
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def call(inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        found = compiled([inputs])
        return tuple(np.array(found[index]) for index in range(len(compiled.outputs)))

    return header, call


def _set_header(onnx, path: Path, header: Header) -> None:
    """Puts the header, and it alone, into the metadata of an ONNX file."""
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
    """Hides the tracer's warnings (a constant that should not be one shows in the comparison), and
    turns what it cannot export into an error of one line.
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
            f"this model has a part that cannot be exported ({first}); --to safetensors keeps any "
            "model"
        ) from error
    finally:
        logger.setLevel(level)


def _no_advice(record: logging.LogRecord) -> bool:
    """A filter for onnxruntime's advice to prepare the file first, which a user cannot follow."""
    return "pre-processing before quantization" not in record.getMessage()
