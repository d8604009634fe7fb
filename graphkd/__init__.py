"""graphkd: small document detectors distilled from big ones, on Detectron2."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from graphkd.document import Document
    from graphkd.predict.model import Model

# Detectron2 and fvcore use torch.jit.script while they are imported; torch 2.14 warns each time.
warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated")

__version__ = "0.2.0"
__all__ = ["__version__", "load", "read_document"]


def load(
    weights: Path | str | None = None,
    *,
    config: Path | str | None = None,
    trust: bool = False,
    device: str | None = None,
    decoding: Mapping[str, Any] | None = None,
) -> Model:
    """Loads a detector: `graphkd.load("student.onnx").predict("page.png")`.

    Nothing heavy is imported before this is called; for an `.onnx` file torch never is.

    Args:
        weights: `.pth`, `.safetensors` or `.onnx`; None means the one that comes with graphkd.
        config: a run's yaml, for a `.pth` that holds none.
        trust: also unpickle objects other than tensors, which can run any code.
        device: "cpu", "cuda" or "cuda:1"; None means the GPU where there is one (ONNX: the CPU).
        decoding: of text detectors: numbers in the place of the file's, {"unclip_scale": 1.1}.

    Raises:
        UserError: no such file, another kind of file, a damaged one, or no such device.
    """
    from graphkd.predict.model import load_model

    return load_model(weights, config=config, trust=trust, device=device, decoding=decoding)


def read_document(
    pages: Any,
    *,
    weights: Path | str | None = None,
    page_numbers: str | None = None,
    password: str | None = None,
    **options: Any,
) -> Document:
    """Reads whole pages: `graphkd.read_document("book.pdf").text`.

    Args:
        pages: path of an image, PDF or folder; uint8 array (H, W, 3) in RGB or (H, W); PIL image;
            or a list of these.
        weights: folder with the ONNX files of the models; None means those that come with graphkd.
        page_numbers: pages of PDFs and TIFFs, such as "1-3,-1"; by default all.
        password: of encrypted PDFs.
        **options: fields of `graphkd.read.reader.Options`.

    Raises:
        UserError: a page cannot be read, an option is unknown or wrong, or a model is missing.
    """
    from graphkd.document import Document
    from graphkd.errors import UserError
    from graphkd.read.reader import Options, Reader, load_models

    try:
        reader = Reader(load_models(weights), Options(**options))
    except TypeError as error:
        raise UserError(f"read_document: {error}") from error
    found = tuple(reader.pages(pages, page_numbers=page_numbers, password=password))
    return Document(found[0].source if found else "", found)
