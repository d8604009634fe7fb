"""graphkd: small document detectors distilled from big ones, on Detectron2."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from graphkd.predict.model import Model

# Detectron2 and fvcore use torch.jit.script while they are imported; torch 2.14 warns each time.
warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated")

__version__ = "0.2.0"
__all__ = ["__version__", "load"]


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
