"""Writing checkpoints so that nothing is lost, and loading weights so that nothing is skipped."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from graphkd.errors import UserError

logger = logging.getLogger(__name__)


class RunCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer, writing to a temporary name that is synced and renamed.

    A checkpoint holds `model` (the plain student), `classes`, `config` (yaml), and beside it `distill` (adapters and
    running statistics of losses) and `trainer` (step, optimizer, schedule, random state).
    """

    def __init__(
        self,
        model: nn.Module,
        folder: str,
        *,
        classes: Sequence[str],
        config: str,
        **checkpointables,
    ):
        super().__init__(model, folder, **checkpointables)
        self.classes = list(classes)
        self.config = config

    def save(self, name: str, **extra) -> None:
        """Writes `<folder>/<name>.pth`; a killed process or full disk leaves the older files
        whole.
        """
        data = {
            "model": self.model.state_dict(),
            "classes": self.classes,
            "config": self.config,
            **extra,
        }
        # Every process takes part: the trainer's state gathers the random state of all.
        data.update({key: item.state_dict() for key, item in self.checkpointables.items()})
        if not self.save_dir or not self.save_to_disk:
            return
        path = Path(self.save_dir) / f"{name}.pth"
        temporary = path.with_suffix(".pth.tmp")
        try:
            with open(temporary, "wb") as file:
                torch.save(data, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        self.tag_last_checkpoint(path.name)

    def _log_incompatible_keys(self, incompatible) -> None:
        _refuse(incompatible)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Points `last_checkpoint` at a file, in one step."""
        tag = Path(self.save_dir) / "last_checkpoint"
        temporary = tag.with_suffix(".tmp")
        temporary.write_text(last_filename_basename)
        os.replace(temporary, tag)

    def resume(self) -> bool:
        """Loads the newest readable checkpoint of the folder with everything in it.

        A damaged newest file is skipped with a warning in favour of the one before.

        Returns:
            Whether there was one.

        Raises:
            UserError: there are checkpoints, but none is readable.
        """
        candidates = self._newest_first()
        for path in candidates:
            try:
                stored = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:
                logger.warning(
                    "%s is damaged (%s); trying the one before", path, type(error).__name__
                )
                continue
            self._check_parts(path, stored)
            self.load(str(path))
            return True
        if candidates:
            raise UserError(
                f"{self.save_dir}: no checkpoint is readable; train again without --resume"
            )
        return False

    def _check_parts(self, path: Path, stored: dict) -> None:
        """Refuses a checkpoint of another kind of run, for example a plain one for a distilled."""
        parts = {"model": self.model, **self.checkpointables}
        missing = [key for key in parts if key not in stored]
        if "distill" in stored and "distill" not in parts:
            missing.append("a run without distillation")
        if missing:
            raise UserError(
                f"{path} does not belong to this run, it lacks {', '.join(missing)}; use another "
                "OUTPUT_DIR"
            )

    def _newest_first(self) -> list[Path]:
        """Checkpoint files, the tagged one first, then by time."""
        files = sorted(Path(self.save_dir).glob("model_*.pth"), key=os.path.getmtime, reverse=True)
        tagged = Path(self.get_checkpoint_file() or self.save_dir)
        return sorted(files, key=lambda path: path.name != tagged.name)


class _StrictCheckpointer(DetectionCheckpointer):
    """Reads every format Detectron2 knows, and stops where Detectron2 would only log."""

    def _log_incompatible_keys(self, incompatible) -> None:
        _refuse(incompatible)


def _refuse(incompatible) -> None:
    problems = [
        *(f"missing {key}" for key in incompatible.missing_keys),
        *(f"unexpected {key}" for key in incompatible.unexpected_keys),
        *(f"{k} has shape {a}, the model {b}" for k, a, b in incompatible.incorrect_shapes),
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UserError(f"the weights do not fit the model: {'; '.join(problems[:3])}{more}")


def load_state(model: nn.Module, state: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Fills `model` completely from tensors by name.

    Args:
        model: a plain Detectron2 model.
        state: parameter and buffer name -> tensor.
        source: file they come from, for messages.

    Raises:
        UserError: missing, unexpected or misshapen keys.
    """
    try:
        _refuse(_StrictCheckpointer(model)._load_model({"model": dict(state)}))
    except UserError as error:
        raise UserError(f"{source}: {error}") from error


def load_weights(
    model: nn.Module, path: Path | str, *, classes: Sequence[str] | None = None
) -> None:
    """Fills `model` from a checkpoint completely: no missing, unexpected or shape-skipped key.

    Args:
        model: a plain Detectron2 model.
        path: a checkpoint in any format that Detectron2 reads.
        classes: class names the model is used for; compared with those stored by this project.

    Raises:
        UserError: no such file, an unreadable one, keys that do not fit, another class list.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    try:
        extra = _StrictCheckpointer(model).load(str(path), checkpointables=[])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path}: not a readable checkpoint ({first})") from error
    stored = extra.get("classes")
    if stored is not None and classes is not None and list(stored) != list(classes):
        raise UserError(
            f"{path}: trained on classes {', '.join(stored)}, "
            f"but the data set has {', '.join(classes)}"
        )
