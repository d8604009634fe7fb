"""Writes checkpoints safely, resumes from them, and loads weights with strict checks."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from graphkd.errors import GO_ON, UserError
from graphkd.io import replacing, write_text
from graphkd.weight_files import PICKLES, read_weights, require_trust

logger = logging.getLogger(__name__)

# Advice for a checkpoint to resume from that holds other objects than tensors. There is no option
# to read it anyway, because graphkd writes only tensors.
_NOT_OURS = "graphkd did not write this file, so find out where it comes from"


class _SafeCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer, but it reads files without running code from them."""

    trust = False

    def load(self, path: str, *args, **kwargs) -> dict:
        require_trust(path, trust=self.trust)
        return super().load(path, *args, **kwargs)

    def _load_file(self, filename: str) -> dict:
        if filename.endswith(PICKLES):
            require_trust(filename, trust=self.trust)
            return super()._load_file(filename)
        return read_weights(filename, trust=self.trust)


class RunCheckpointer(_SafeCheckpointer):
    """Detectron2's checkpointer, but it writes to a temporary file, syncs it and then renames it.

    A checkpoint holds `model` (the plain student), `about` (`classes`, `config`, `task`), and
    beside it, where they exist, `distill` (adapters and running statistics of losses), `peers`,
    `teacher` (of a running average), `average` (of the student) and `trainer` (step, optimizer,
    schedule, random state).
    """

    def __init__(
        self,
        model: nn.Module,
        folder: str,
        *,
        about: Mapping[str, Any],
        **checkpointables,
    ):
        """`about` holds `classes` (names), `config` (the yaml that inference needs) and `task`."""
        super().__init__(model, folder, **checkpointables)
        self.about = {**about, "classes": list(about["classes"])}

    def save(self, name: str, **extra) -> None:
        """Writes `<folder>/<name>.pth`. Older files stay intact if the process is killed or the
        disk is full. `model_final` holds no averaging teacher, which only another step would need.

        Raises:
            UserError: the file cannot be written, for example because the disk is full.
        """
        data = {"model": self.model.state_dict(), **self.about, **extra}
        # Every process must do this: the trainer's state gathers the random state of all processes.
        parts = self._parts(f"{name}.pth")
        data.update({key: item.state_dict() for key, item in parts.items()})
        if self._put(name, data):
            self.tag_last_checkpoint(f"{name}.pth")

    def _parts(self, name: str) -> dict[str, Any]:
        """What a checkpoint file of this name holds beside the student."""
        absent = "teacher" if name == "model_final.pth" else None
        return {key: item for key, item in self.checkpointables.items() if key != absent}

    def save_other(self, name: str, model: nn.Module) -> None:
        """Writes a model that was trained beside the student, without the state for a resume."""
        self._put(name, {"model": model.state_dict(), **self.about})

    def _put(self, name: str, data: dict) -> bool:
        """Writes a file on the main process; returns whether this process wrote it.

        Raises:
            UserError: the file cannot be written, for example because the disk is full.
        """
        if not self.save_dir or not self.save_to_disk:
            return False
        path = Path(self.save_dir) / f"{name}.pth"
        try:
            _write(path, data)
        except OSError as error:
            raise UserError(
                f"{path}: the checkpoint was not written ({error.strerror or error}); older ones "
                f"are complete: free some disk space, then {GO_ON}"
            ) from error
        return True

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Writes the file `last_checkpoint`, which Detectron2's own tools read, in one step."""
        write_text(Path(self.save_dir) / "last_checkpoint", last_filename_basename)

    def resume(self) -> bool:
        """Loads the newest readable checkpoint of the folder completely.

        If the newest file is damaged (cut off, or with a flipped bit), a warning is logged and the
        one before is loaded.

        Returns:
            Whether a checkpoint was loaded.

        Raises:
            UserError: there are checkpoints, but none can be read, or they belong to another run.
        """
        problems: list[UserError] = []
        for path in checkpoints_of(Path(self.save_dir))[::-1]:
            try:
                stored = read_weights(path, remedy=_NOT_OURS)
            except UserError as error:
                problems.append(error)
                continue
            for problem in problems:
                logger.warning("%s; trying the one before", problem)
            self._check_parts(path, stored)
            self._fill(path, stored)
            return True
        if problems:
            older = f", nor can {len(problems) - 1} older" if problems[1:] else ""
            raise UserError(
                f"{problems[0]}; this checkpoint cannot be read{older}: put back a copy of it, or "
                "train again without --resume"
            )
        return False

    def _check_parts(self, path: Path, stored: dict) -> None:
        """Refuses a checkpoint of another kind of run, such as a plain one for a distilled run."""
        parts = {"model": self.model, **self._parts(path.name)}
        missing = [key for key in parts if key not in stored]
        if "distill" in stored and "distill" not in parts:
            missing.append("a run without distillation")
        if missing:
            raise UserError(
                f"{path} does not belong to this run, it lacks {', '.join(missing)}; use another "
                "OUTPUT_DIR"
            )

    def _fill(self, path: Path, stored: dict) -> None:
        logger.info("going on from %s", path)
        load_state(self.model, stored["model"], source=str(path))
        for key, item in self._parts(path.name).items():
            try:
                item.load_state_dict(stored[key])
            except (KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
                raise UserError(
                    f"{path}: its {key} does not belong to this run ({error}); use another "
                    "OUTPUT_DIR"
                ) from error


def stored_calibration(path: Path) -> dict:
    """The calibration in a checkpoint (numbers fitted on validation data); {} without one."""
    return dict(read_weights(path).get("calibration") or {})


def checkpoints_of(folder: Path) -> list[Path]:
    """Checkpoint files of a run: the oldest step first, model_final.pth last."""
    steps = {path: re.fullmatch(r"model_(\d+)\.pth", path.name) for path in folder.glob("*.pth")}
    numbered = sorted((int(match[1]), path) for path, match in steps.items() if match)
    final = folder / "model_final.pth"
    return [path for _, path in numbered] + ([final] if final.is_file() else [])


def _write(path: Path, data: dict) -> None:
    """Writes a checkpoint in one step.

    Raises:
        OSError: it could not be written; an older file of this name is unchanged.
    """
    try:
        with replacing(path, sync=True) as file:
            torch.save(data, file)
    except RuntimeError as error:
        # torch.save turns a failed write into a RuntimeError; callers need the error of the disk.
        failed = error.__context__
        if isinstance(failed, OSError):
            raise failed from error
        raise


class _StrictCheckpointer(_SafeCheckpointer):
    """Reads every format Detectron2 knows, and stops where Detectron2 would only log."""

    def _log_incompatible_keys(self, incompatible) -> None:
        _refuse(incompatible)


class _StartCheckpointer(_SafeCheckpointer):
    """Counts the trained tensors that found their place; Detectron2 logs the others."""

    fitting = 0
    fit: Callable[[dict], dict] | None = None

    def _load_file(self, filename: str) -> dict:
        stored = super()._load_file(filename)
        return stored if self.fit is None else self.fit(stored)

    def _log_incompatible_keys(self, incompatible) -> None:
        wrong = {key for key, *_ in incompatible.incorrect_shapes}
        without = {*incompatible.missing_keys, *wrong, "pixel_mean", "pixel_std"}
        self.fitting = len(set(self.model.state_dict()) - without)
        super()._log_incompatible_keys(incompatible)


def _refuse(incompatible) -> None:
    # Detectron2 counts a tensor of the wrong shape as missing too.
    misshapen = {key for key, *_ in incompatible.incorrect_shapes}
    problems = [
        *(f"{k} has shape {a}, the model {b}" for k, a, b in incompatible.incorrect_shapes),
        *(f"missing {key}" for key in incompatible.missing_keys if key not in misshapen),
        *(f"unexpected {key}" for key in incompatible.unexpected_keys),
    ]
    for problem in problems:
        logger.info("weights that do not fit: %s", problem)
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UserError(f"the weights do not fit the model: {'; '.join(problems[:3])}{more}")


def load_state(model: nn.Module, state: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Loads all parameters and buffers of `model` from tensors by name.

    Args:
        model: a plain Detectron2 model.
        state: parameter and buffer name -> tensor.
        source: the file they come from, for messages.

    Raises:
        UserError: keys are missing, unexpected or of another shape.
    """
    try:
        _refuse(_StrictCheckpointer(model)._load_model({"model": dict(state)}))
    except (UserError, ValueError) as error:
        raise UserError(f"{source}: {error}") from error


def load_weights(
    model: nn.Module,
    path: Path | str,
    *,
    classes: Sequence[str] | None = None,
    trust: bool = False,
) -> dict:
    """Loads weights into `model` strictly: missing or unexpected keys and other shapes are errors.

    Args:
        model: a plain Detectron2 model.
        path: `.safetensors`, or a checkpoint in any format that Detectron2 reads.
        classes: class names that the model is used for; they must equal the stored ones, if any.
        trust: also unpickle objects other than tensors, which can run any code.

    Returns:
        The content of the file, with everything that it holds beside the model.

    Raises:
        UserError: the file is missing, cannot be read or is not trusted, its keys do not fit, or
            its class list is a different one.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    stored = _load(_StrictCheckpointer(model), path, trust=trust)
    names = stored.get("classes")
    if names is not None and classes is not None and list(names) != list(classes):
        raise UserError(
            f"{path}: trained on classes {', '.join(names)}, "
            f"but the data set has {', '.join(classes)}"
        )
    return stored


def load_initial(
    model: nn.Module,
    path: str,
    *,
    trust: bool = False,
    fit: Callable[[dict], dict] | None = None,
) -> None:
    """Loads initial weights into `model`, which need not fit completely: those of a backbone, say.

    Args:
        model: a plain Detectron2 model.
        path: a file, or an address that Detectron2 knows. Keys that are skipped are logged.
        trust: also unpickle objects other than tensors, which can run any code.
        fit: changes the content of the file before it is loaded, see `Task.fit_weights`.

    Raises:
        UserError: the file is missing, cannot be read or is not trusted, or none of its tensors
            fits.
    """
    if "://" not in path and not Path(path).is_file():
        raise UserError(f"{path}: no such weights file")
    checkpointer = _StartCheckpointer(model)
    checkpointer.fit = fit
    _load(checkpointer, path, trust=trust)
    if not checkpointer.fitting:
        raise UserError(f"{path}: not one of its tensors fits the model")


def _load(checkpointer: _SafeCheckpointer, path: Path | str, *, trust: bool) -> dict:
    checkpointer.trust = trust
    try:
        return checkpointer.load(str(path), checkpointables=[])
    except UserError as error:
        message = str(error)
        raise UserError(message if str(path) in message else f"{path}: {message}") from error
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path}: not a readable checkpoint ({first})") from error
