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
