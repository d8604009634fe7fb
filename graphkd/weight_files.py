"""Reads weight files without running code from them, and notices damage.

Torch is imported only when a file is read.
"""

from __future__ import annotations

import json
import logging
import pickle
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from graphkd.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

KEY = "graphkd"  # the metadata key of the header in a file
# Endings of files that Detectron2's checkpointer unpickles.
PICKLES = (".pkl", ".pyth")
BY_OPTION = "--trust reads it anyway; use it only for files from a source you trust"
BY_KEY = "TRUST_PICKLES True reads it anyway; use it only for files from a source you trust"
# Everything that `zipfile` raises for damaged files.
_BROKEN_ZIP = (
    *(zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError),
    *(NotImplementedError, RuntimeError),
)


def read_weights(path: Path | str, *, trust: bool = False, remedy: str = BY_KEY) -> dict:
    """Reads a weights file into the dict that Detectron2's checkpointer expects.

    Args:
        path: a `.safetensors`, or any file that `torch.save` wrote.
        trust: unpickle objects other than tensors, too, which can run any code.
        remedy: the end of the message about such objects.

    Returns:
        A dict with "model" (name -> tensor) and everything else in the file, such as "classes".

    Raises:
        UserError: the file is missing, damaged, holds no weights, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    if path.suffix == ".safetensors":
        text, state = read_safetensors(path)
        try:
            values = json.loads(text or "null")
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: damaged safetensors file ({error})") from error
        return {**(values if isinstance(values, dict) else {}), "model": state}
    stored = load_pickle(path, trust=trust, remedy=remedy)
    if isinstance(stored, dict) and "model" not in stored:
        stored = {"model": stored}
    if not isinstance(stored, dict) or not isinstance(stored["model"], dict) or not stored["model"]:
        raise UserError(f"{path}: it holds no weights by name")
    return stored


def require_trust(path: str, *, trust: bool) -> None:
    """Refuses a file that can only be unpickled, unless it is trusted.

    Raises:
        UserError: `path` ends in .pkl or .pyth and `trust` is False.
    """
    if path.endswith(PICKLES) and not trust:
        raise UserError(f"{path}: it is a pickle, and reading it can run any code; {BY_KEY}")


def load_pickle(path: Path, *, trust: bool, remedy: str = BY_OPTION) -> object:
    """Reads a `.pth` without running code from it, and notices flipped bits.

    Args:
        path: the file.
        trust: unpickle the file in full if it holds more than tensors and plain values.
        remedy: how the user can trust the file, for the message.

    Raises:
        UserError: the file holds other objects and is not trusted, or it is damaged.
    """
    import torch

    _check_sums(path)
    try:
        with warnings.catch_warnings():
            # Torch warns about the protocol of plain pickles, which are refused anyway.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not trust:
            raise _refusal(path, error, remedy) from error
    except Exception as error:
        raise _damage(path, error) from error
    logger.warning("%s: it is trusted and was unpickled in full", path)
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise _damage(path, error) from error


def _check_sums(path: Path) -> None:
    """Compares every record of a file that `torch.save` wrote with its CRC-32.

    `torch.load` does not do this and would read a flipped bit as part of a weight. Files without
    such sums (torch's old format) are not checked.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            # `torch.save` never compresses, so a compressed record means damage.
            packed = [i for i in archive.infolist() if i.compress_type != zipfile.ZIP_STORED]
            bad = packed[0].filename if packed else archive.testzip()
    except _BROKEN_ZIP as error:
        raise _damage(path, error) from error
    if bad is not None:
        raise UserError(f"{path}: damaged, the checksum of {bad} is wrong; fetch or save it again")


def read_checkpoint(path: Path, *, trust: bool) -> dict:
    """Reads a run's `.pth`; "model" holds tensors by name, "classes" the class names."""
    import torch

    stored = load_pickle(path, trust=trust)
    if not isinstance(stored, dict) or not isinstance(stored.get("model"), dict):
        raise UserError(f"{path}: it holds no model of this project; name the .pth of a run")
    if not stored.get("classes"):
        raise UserError(f"{path}: it names no classes; train or export it with graphkd")
    try:
        state = {key: torch.as_tensor(value) for key, value in stored["model"].items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: it holds no model of this project ({error})") from error
    return {**stored, "model": state}


def read_safetensors(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The text of the header (empty in files of other projects) and the tensors by name."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}
            return (file.metadata() or {}).get(KEY, ""), state
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{path}: damaged safetensors file ({error})") from error


def _refusal(path: Path, error: Exception, remedy: str) -> UserError:
    """The error for a file that torch's safe reading refused. Torch raises the same exception for
    objects that it does not allow and for files that are no pickles at all.
    """
    with path.open("rb") as file:
        plain_pickle = file.read(1) == pickle.PROTO
    if plain_pickle or "GLOBAL" in str(error) or zipfile.is_zipfile(path):
        return UserError(
            f"{path}: it holds more than tensors, and reading that can run any code; {remedy}"
        )
    return _damage(path, error)


def _damage(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: not a readable checkpoint ({type(error).__name__})")
