"""Which packages belong to which part of the installation, and the line that names missing ones."""

from importlib.util import find_spec

from graphkd.errors import COMMAND, UserError

# Modules of `graphkd[train]` in pyproject.toml, by the names they are imported under. `predict` on
# ONNX files needs none of them.
TRAINING = (
    *("torch", "torchvision", "timm", "safetensors", "scipy", "faster_coco_eval", "pycocotools"),
    *("reportlab", "jinja2", "matplotlib", "rich", "yaml", "fvcore", "iopath", "yacs"),
    *("omegaconf", "hydra", "cloudpickle", "tabulate", "termcolor", "tensorboard"),
)


def require_training(what: str = "this") -> None:
    """Checks, without importing them, that the packages for training are installed.

    Args:
        what: what needs them, the beginning of the message.

    Raises:
        UserError: some are missing, or Detectron2 is.
    """
    missing = [name for name in TRAINING if find_spec(name) is None]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UserError(
            f"{what} needs graphkd[train]: run pip install '.[train]' in graphkd's folder "
            f"(missing: {', '.join(missing[:3])}{more})"
        )
    if find_spec("detectron2") is None:
        raise UserError(f"{what} needs Detectron2: run {COMMAND} install-detectron2")
