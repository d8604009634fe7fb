"""The models in the package's folder weights/, each checked against its hash before it is used."""

from pathlib import Path

from graphkd.errors import UserError
from graphkd.io import file_digest

FOLDER = Path(__file__).parent / "weights"
# Name for `--weights`, kind of file -> file and its SHA-256. The ONNX file runs without torch, the
# other one can be trained on. The .md file beside them says how the student was trained.
SHIPPED = {
    ("layout", "onnx"): (
        "student.onnx",
        "40467f36e8d0f3963774dcb75367bbbfe2a503d5e092f2554bb0dee33455b096",
    ),
    ("layout", "safetensors"): (
        "student.safetensors",
        "d731a7c07980826c9ab3145412ce481c51152e36d3d0cd436a975e5020fcc3d3",
    ),
    ("lines", "onnx"): (
        "lines.onnx",
        "18934fc8b5724225e0b1913de58e1b87ec7a1fcd8abd6a29107d99e946a7856f",
    ),
    ("lines", "safetensors"): (
        "lines.safetensors",
        "729c5dda5cebd46557cac8ba830b2c14276741f5a70ee3fb319e3d4929f8f042",
    ),
    ("text", "onnx"): (
        "text.onnx",
        "fec32fc6a897abc1e0267692ca9df6d78e011fb6be20801d885adc0de365dc37",
    ),
    ("text", "safetensors"): (
        "text.safetensors",
        "f25c4bc0ecd7e3a087fd42a645d8510d5d321aa7c08dca0730645d6b06d31eb6",
    ),
}
NAMES = tuple(dict.fromkeys(name for name, _ in SHIPPED))


def file_of(kind: str, name: str = "layout") -> Path:
    """The path of a shipped student's file; it is not checked."""
    return FOLDER / SHIPPED[name, kind][0]


def default_weights(kind: str = "onnx", *, name: str = "layout") -> Path:
    """The shipped student's file.

    Args:
        kind: "onnx" or "safetensors".
        name: one of `NAMES`.

    Raises:
        UserError: it is missing from this installation, or is not the file that was shipped.
    """
    path, expected = file_of(kind, name), SHIPPED[name, kind][1]
    if not path.is_file():
        raise UserError(f"{path}: the shipped student is missing; install graphkd again")
    found = file_digest(path)
    if found != expected:
        raise UserError(
            f"{path}: not the shipped student (SHA-256 {found[:12]}..., expected "
            f"{expected[:12]}...); install graphkd again, or name your own weights"
        )
    return path
