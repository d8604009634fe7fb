"""Reading weights files of every kind without running code from them; fills no model."""

import json
import logging
import pickle
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from graphkd.errors import UserError

logger = logging.getLogger(__name__)

# Files that Detectron2's checkpointer unpickles.
PICKLES = (".pkl", ".pyth")
BY_OPTION = "--trust reads it all the same, if you know where it comes from"
BY_KEY = "TRUST_PICKLES True reads it all the same, if you know where it comes from"
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, struct.error)


def read_weights(path: Path | str, *, trust: bool = False, remedy: str = BY_KEY) -> dict:
    """What a weights file holds, as Detectron2's checkpointer wants it; no code of it is run.

    Args:
        path: a `.safetensors`, or anything that `torch.save` wrote.
        trust: also unpickle objects other than tensors, which can run any code.
        remedy: how the user says that he trusts a file.

    Returns:
        A dict with "model": name -> tensor, and whatever else is in the file ("classes" of this
        project, for example).

    Raises:
        UserError: no such file, a damaged one, one that holds more than tensors, or no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    if path.suffix == ".safetensors":
        header, state = read_safetensors(path)
        return {**(header or {}), "model": state}
    stored = load_pickle(path, trust=trust, remedy=remedy)
    if not isinstance(stored, dict):
        raise UserError(f"{path}: it holds a {type(stored).__name__}, no weights by name")
    if "model" not in stored:
        stored = {"model": stored}
    if not isinstance(stored["model"], dict) or not stored["model"]:
        raise UserError(f"{path}: it holds no weights by name")
    return stored


def require_trust(path: str, *, trust: bool, remedy: str = BY_KEY) -> None:
    """Refuses a file of the kinds that can only be unpickled, unless it is trusted.

    Raises:
        UserError: `path` ends in .pkl or .pyth and `trust` is False.
    """
    if path.endswith(PICKLES) and not trust:
        raise UserError(f"{path}: a pickle, and reading it can run any code; {remedy}")


def load_pickle(path: Path, *, trust: bool, remedy: str = BY_OPTION) -> object:
    """What a `.pth` holds, read without running code from it; a flipped bit in it is noticed.

    Args:
        path: the file.
        trust: fall back to full unpickling where it holds more than tensors and plain values.
        remedy: how the user says that he trusts a file, for the message.

    Raises:
        UserError: it holds other objects and is not trusted, or is damaged.
    """
    check_sums(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols that only plain pickles have
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not trust:
            raise _refusal(path, error, remedy) from error
    except Exception as error:
        raise _damage(path, error) from error
    logger.warning("%s: unpickled, since it is trusted", path)
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise _damage(path, error) from error


def check_sums(path: Path) -> None:
    """Compares every record of a file that `torch.save` wrote with its CRC-32.

    `torch.load` does not: a flipped bit would go into the weights unseen. Files of other kinds
    (torch's old format has no sums) pass.

    Raises:
        UserError: a record that differs, or a damaged archive.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            packed = [i for i in archive.infolist() if i.compress_type != zipfile.ZIP_STORED]
            bad = packed[0].filename if packed else archive.testzip()
    except (*_BROKEN_ZIP, NotImplementedError, RuntimeError) as error:
        raise _damage(path, error) from error
    if bad is not None:
        raise UserError(f"{path}: damaged, the check sum of {bad} is wrong; fetch or save it again")


def read_safetensors(path: Path) -> tuple[dict | None, dict[str, Tensor]]:
    """Header of this project (None in a foreign file) and tensors by name.

    Raises:
        UserError: a damaged file, or one of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("graphkd", "null"))
            state = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path}: damaged safetensors file ({error})") from error
    return header if isinstance(header, dict) else None, state


def _refusal(path: Path, error: Exception, remedy: str) -> UserError:
    """Torch raises one type for objects that it does not allow and for rubbish."""
    with path.open("rb") as file:
        plain_pickle = file.read(1) == pickle.PROTO
    if plain_pickle or "GLOBAL" in str(error) or zipfile.is_zipfile(path):
        return UserError(
            f"{path}: it holds more than tensors, and reading that can run any code; {remedy}"
        )
    return _damage(path, error)


def _damage(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: not a readable checkpoint ({type(error).__name__})")
