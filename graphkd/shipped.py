"""The small student that comes with the package, checked against its hash; no reading of models."""

import hashlib
from pathlib import Path

from graphkd.errors import UserError

WEIGHTS = Path(__file__).parent / "weights" / "student.safetensors"
SHA256 = "45a0a11806ba1d5c274459dc9eb0c27e4c9c8003d05ec07e8a2a1d888175a692"


def default_weights() -> Path:
    """The shipped student's file; how it was trained stands in `student.md` beside it.

    Raises:
        UserError: it is missing from this installation, or is not the file that was shipped.
    """
    if not WEIGHTS.is_file():
        raise UserError(f"{WEIGHTS}: the shipped student is missing; install graphkd again")
    found = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    if found != SHA256:
        raise UserError(
            f"{WEIGHTS}: not the shipped student (SHA-256 {found[:12]}..., expected "
            f"{SHA256[:12]}...); install graphkd again, or name your own weights"
        )
    return WEIGHTS
