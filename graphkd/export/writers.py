"""Writing an export network as ONNX, TorchScript and OpenVINO files; nothing is compared here."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from graphkd.errors import UserError
from graphkd.export.network import ExportNetwork
from graphkd.modelfile import KEY, Header

INPUT = "images"
OUTPUTS = ("boxes", "scores", "classes", "image_index")
# The first with RoIAlign of half pixels is 16, the first with antialiased Resize is 18.
OPSET = 18
# Traced with sizes that no page has: a size frozen into the graph shows up in the parity check.
_EXAMPLE = (2, 203, 149, 3)


def write_onnx(
    path: Path, network: ExportNetwork, header: Header, *, for_openvino: bool = False
) -> None:
    """Writes one ONNX file with the header under the key `graphkd` of its metadata.

    The exporter is PyTorch's older one, from TorchScript: it knows RoIAlign, and keeps loops and
    lists of unknown length.

    Args:
        path: file to write.
        network: in eval mode on the CPU.
        header: see `Header`.
        for_openvino: resize without ONNX's own operator; see `Preprocess`.

    Raises:
        UserError: the package onnx is missing, or the backbone cannot be exported.
    """
    onnx = _package("onnx")
    network.preprocess.by_products = for_openvino
    names = {INPUT: {0: "N", 1: "H", 2: "W"}, **{name: {0: "M"} for name in OUTPUTS}}
    with _quiet(), _exportable():
        torch.onnx.export(
            network,
            (_example(),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes=names,
        )
    model = onnx.load(str(path))
    set_header(model, header)
    onnx.save(model, str(path))


def set_header(model, header: Header) -> None:
    """Puts the header, and it alone, into the metadata of an onnx ModelProto."""
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=header.text())


def write_torchscript(path: Path, network: ExportNetwork, header: Header) -> None:
    """Writes one TorchScript file with the header as its extra file `graphkd`.

    Loading it needs torch and `import torchvision`, whose operators it calls.

    Raises:
        UserError: the backbone cannot be exported.
    """
    with _quiet(), _exportable(), torch.no_grad():
        traced = torch.jit.trace(network, (_example(),), check_trace=False)
        torch.jit.save(torch.jit.freeze(traced), str(path), _extra_files={KEY: header.text()})


def write_openvino(path: Path, onnx_file: Path, header: Header, *, half: bool) -> None:
    """Writes an OpenVINO model, `path` (.xml) and its weights beside it (.bin), from an ONNX file.

    The header is under `graphkd` in the model's rt_info.

    Args:
        path: the .xml.
        onnx_file: from `write_onnx` for OpenVINO, or that file quantised.
        header: see `Header`.
        half: keep weights as float16.

    Raises:
        UserError: the package openvino is missing, or cannot read the file.
    """
    openvino = _package("openvino")
    try:
        model = openvino.convert_model(str(onnx_file))
    except Exception as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"OpenVINO cannot read this detector ({first}); use --to onnx") from error
    model.set_rt_info(header.text(), [KEY])
    openvino.save_model(model, str(path), compress_to_fp16=half)


def _example() -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, _EXAMPLE, dtype=torch.uint8, generator=random)


def _package(name: str):
    try:
        return __import__(name)
    except ModuleNotFoundError as error:
        raise UserError(f"this needs the package {name}: pip install {name}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracer's warnings: what it froze into the graph, the parity check finds."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _exportable() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"this detector has a part that cannot be exported ({first}); --to safetensors keeps "
            "any detector"
        ) from error
