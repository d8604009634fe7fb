"""The small student that comes with the package, checked against its hash; no reading of models."""

from pathlib import Path

from graphkd.errors import UserError
from graphkd.io import file_digest

WEIGHTS = Path(__file__).parent / "weights" / "student.safetensors"
SHA256 = "d731a7c07980826c9ab3145412ce481c51152e36d3d0cd436a975e5020fcc3d3"


def default_weights() -> Path:
    """The shipped student's file; how it was trained stands in `student.md` beside it.

    Raises:
        UserError: it is missing from this installation, or is not the file that was shipped.
    """
    if not WEIGHTS.is_file():
        raise UserError(f"{WEIGHTS}: the shipped student is missing; install graphkd again")
    found = file_digest(WEIGHTS)
    if found != SHA256:
        raise UserError(
            f"{WEIGHTS}: not the shipped student (SHA-256 {found[:12]}..., expected "
            f"{SHA256[:12]}...); install graphkd again, or name your own weights"
        )
    return WEIGHTS
