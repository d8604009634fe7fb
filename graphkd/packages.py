"""Which packages belong to which part of the installation, and the lines that name missing ones and
a Detectron2 that cannot be imported.
"""

import os
import sys
import traceback
from importlib.util import find_spec

from graphkd.errors import COMMAND, UserError

# Modules that every command needs, by the names they are imported under: the dependencies in
# pyproject.toml.
LIGHT = (
    *("numpy", "onnxruntime", "cv2", "PIL", "shapely", "pypdfium2", "defusedxml", "filelock"),
    *("tqdm", "rapidfuzz"),
)
# Modules of `graphkd[train]`. `predict` on ONNX files needs none of them.
TRAINING = (
    *("torch", "torchvision", "timm", "safetensors", "scipy", "faster_coco_eval", "pycocotools"),
    *("reportlab", "jinja2", "matplotlib", "fontTools", "rich", "yaml", "fvcore", "iopath"),
    *("yacs", "omegaconf", "hydra", "cloudpickle", "tabulate", "termcolor", "tensorboard"),
)

# What helps against a Detectron2 that cannot be imported.
REPLACE = f"{COMMAND} install-detectron2 --replace puts graphkd's build in its place"


def require_light() -> None:
    """Checks, without importing them, that the packages that every command needs are installed.

    Raises:
        UserError: some are missing.
    """
    missing = [name for name in LIGHT if find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise UserError(f"graphkd needs {names}: run pip install . in graphkd's folder")


def require_training(what: str = "this") -> None:
    """Checks, without importing them, that the packages for training and Detectron2 are installed.

    Args:
        what: what needs them, the beginning of the message.

    Raises:
        UserError: some are missing, or Detectron2 is.
    """
    require_packages(what)
    if find_spec("detectron2") is None:
        raise UserError(f"{what} needs Detectron2: run {COMMAND} install-detectron2")


def require_packages(what: str) -> None:
    """The same without Detectron2."""
    missing = [name for name in TRAINING if find_spec(name) is None]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UserError(
            f"{what} needs graphkd[train]: run pip install '.[train]' in graphkd's folder "
            f"(missing: {', '.join(missing[:3])}{more})"
        )


def broken_detectron2(error: Exception) -> str | None:
    """The line about a Detectron2 whose import raised `error`; None for any other error.

    Stock 0.6 is the usual case: it takes Image.LINEAR from Pillow, which 10 and newer have not.
    """
    folder = f"{os.sep}detectron2{os.sep}"
    frames = traceback.extract_tb(error.__traceback__)
    if any(folder in frame.filename and frame.name == "<module>" for frame in frames):
        return f"{cannot_import(f'{type(error).__name__}: {error}')}; {REPLACE}"
    return None


def cannot_import(problem: str) -> str:
    """The sentence about an installed Detectron2 whose import ends with `problem`."""
    old = "; stock 0.6 needs Pillow below 10" if "LINEAR" in problem else ""
    return f"the installed Detectron2 cannot be imported ({problem}{old})"


def main(part: str) -> int:
    """Answers start_train.sh whether this Python has what commands need.

    Args:
        part: "light", or "full" for training.

    Returns:
        Exit code; 0 for yes. Why Detectron2 cannot be imported is printed; that packages are
        missing is not, since any Python that happens to be active is asked.
    """
    needed = LIGHT if part == "light" else (*LIGHT, *TRAINING, "detectron2")
    if any(find_spec(name) is None for name in needed):
        return 1
    if part != "light":
        try:
            import detectron2.data  # noqa: F401
        except Exception as error:
            sys.stdout.write(f"{cannot_import(f'{type(error).__name__}: {error}')}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
