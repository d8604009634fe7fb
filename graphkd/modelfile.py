"""Model files: what `.pth`, `.safetensors` and exported files say about themselves, reading them
without running code from them, and writing the small form. Torch is imported by the functions that
need it, so that ONNX models run without it.
"""

from __future__ import annotations

import json
import logging
import math
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphkd.errors import UserError
from graphkd.io import replacing
from graphkd.tasks.base import TASKS, task_named, task_of

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from torch import Tensor, nn

logger = logging.getLogger(__name__)

KEY = "graphkd"  # under which a file holds its header
FORMAT = 2
_READABLE = (1, 2)
# Files that Detectron2's checkpointer unpickles.
PICKLES = (".pkl", ".pyth")
BY_OPTION = "--trust reads it all the same, if you know where it comes from"
BY_KEY = "TRUST_PICKLES True reads it all the same, if you know where it comes from"
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, struct.error)
_KEPT = ("MODEL", "INPUT", "TEST")  # what inference needs of a config


@dataclass(frozen=True)
class Header:
    """What a model file says about itself.

    Attributes:
        classes: names in the order of class numbers.
        task: name of the task that the model was trained for.
        calibration: numbers fitted on validation pages, by name; a value is a number or a table of
            numbers by name. Layout: {"thresholds": {class: score in 0..1 from which it is shown}}.
        metrics: name -> value on the test set, None where it was not measured.
        primary: the metric that decides; None where `metrics` is empty.
        card: facts about the training (text values).
        precision: of the weights: "float32", "float16" or "int8".
        score_floor: the model gives no score below this.
        config: the yaml that builds the network; empty in files that hold the network itself.
        settings: how a task prepares pages and reads the outputs, where the file does not do it
            itself. Text detection: {"resize", "size", "decoder": {"kind", ...}}.
    """

    classes: tuple[str, ...]
    task: str = "layout"
    calibration: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    primary: str | None = None
    card: Mapping[str, str] = field(default_factory=dict)
    precision: str = "float32"
    score_floor: float = 0.0
    config: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Class name -> score from which a region is shown; empty where the file names none."""
        return self.calibration.get("thresholds", {})

    def text(self) -> str:
        """As json, with the number of this format."""
        return json.dumps({"format": FORMAT, **asdict(self)})


def read_header(text: str) -> Header:
    """The header from `Header.text`, of this format or format 1 (files of version 0.1).

    Raises:
        ValueError: other text, another format, or damaged facts; the reason in one line.
    """
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or not said.get("classes"):
        raise ValueError("it names no classes; write it with `graphkd export`")
    if said.get("format") not in _READABLE:
        raise ValueError(f"format {said.get('format')}, this version reads 1 and 2; update graphkd")
    try:
        return header_of(said)
    except ValueError as error:
        raise ValueError(f"{error}; export it again") from error


def header_of(said: Mapping[str, Any]) -> Header:
    """A header from its parts by name, as a header's json or a checkpoint holds them.

    Raises:
        ValueError: a part is damaged; the reason in one line.
    """
    classes = _class_list(said.get("classes"))
    calibration = said.get("calibration", {})
    if "calibration" not in said and "thresholds" in said:  # format 1
        calibration = {"thresholds": said["thresholds"]}
    header = Header(
        classes=classes,
        task=said.get("task", "layout"),
        calibration=calibration,
        metrics=said.get("metrics", {}),
        primary=said.get("primary"),
        card=said.get("card", {}),
        precision=str(said.get("precision", "float32")),
        score_floor=said.get("score_floor", 0.0),
        config=said.get("config") or "",
        settings=said.get("settings", {}),
    )
    if not isinstance(header.task, str) or not header.task:
        raise ValueError("it does not name its task")
    if not isinstance(calibration, dict):
        raise ValueError("its calibration is damaged")
    _check_thresholds(calibration.get("thresholds", {}), classes)
    if not all(map(_is_calibration, calibration.values())):
        raise ValueError("its calibration is damaged")
    metrics = header.metrics if isinstance(header.metrics, dict) else {"": "damaged"}
    measured = all(value is None or _is_number(value) for value in metrics.values())
    if not measured or header.primary not in (None, *metrics):
        raise ValueError("its metrics are damaged")
    if not isinstance(header.card, dict):
        raise ValueError("its card is damaged")
    if not isinstance(header.settings, dict):
        raise ValueError("its settings are damaged")
    if not _is_score(header.score_floor):
        raise ValueError(f"its lowest score is {header.score_floor!r}, none in 0..1")
    return header


def _class_list(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise ValueError("its class list is damaged")
    if not value:
        raise ValueError("it names no classes")
    twice = [name for name in value if value.count(name) > 1]
    if twice:
        raise ValueError(f"it names the class {twice[0]!r} twice")
    return tuple(value)


def _check_thresholds(value: Any, classes: tuple[str, ...]) -> None:
    """A table of class name -> score; it need not name every class."""
    if not isinstance(value, dict):
        raise ValueError("its thresholds are damaged")
    for name, score in value.items():
        if name not in classes:
            raise ValueError(f"it has a threshold for {name!r}, which is no class of it")
        if not _is_score(score):
            raise ValueError(f"its threshold of {name!r} is {score!r}, no score in 0..1")


def _is_calibration(value: Any) -> bool:
    """Whether it is a finite number, or a table of such."""
    return all(map(_is_number, value.values())) if isinstance(value, dict) else _is_number(value)


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _is_score(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


@dataclass(frozen=True)
class ModelFile:
    """A trained model as read from a `.pth` or `.safetensors` file.

    Attributes:
        path: the file.
        cfg: frozen config that builds it, on the CPU; MODEL.WEIGHTS is empty.
        state: parameter and buffer name -> float32 tensor.
        header: what the file says about itself; a `.pth` may say no more than the classes.
    """

    path: Path
    cfg: CfgNode
    state: Mapping[str, Tensor]
    header: Header

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the model's class numbers."""
        return self.header.classes


def read_model(
    path: Path | str, *, config: Path | str | None = None, trust: bool = False
) -> ModelFile:
    """Reads a trained model; nothing in the file is executed unless `trust` is True.

    Args:
        path: `.safetensors` of this project, or a checkpoint `.pth` of a run.
        config: the run's yaml; by default the one in the file or `config.yaml` beside it.
        trust: also unpickle objects other than tensors, which can run any code.

    Raises:
        UserError: no such file, another kind of file, a damaged one, or no config or class list
            to be found.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    if path.suffix not in (".safetensors", ".pth"):
        raise UserError(f"{path}: a model is a .pth or .safetensors file")
    try:
        if path.suffix == ".safetensors":
            text, state = _read_safetensors(path)
            header = read_header(text)
        else:
            stored = _read_checkpoint(path, trust=trust)
            state, header = stored["model"], header_of(stored)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    if header.task not in TASKS and not trust:
        # Importing a task runs its code, and the file decides which module that is.
        raise UserError(
            f"{path}: its task {header.task} is not one of graphkd's; if you trust the file, allow "
            "it with --trust"
        )
    cfg = _config_of(path, config, header)
    names, known = len(header.classes), task_named(header.task).class_count(cfg)
    if names != known:
        raise UserError(
            f"{path}: it names {names} classes, its network has {known}; write the file again"
        )
    full = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    bad = next((key for key, value in full.items() if not value.isfinite().all()), None)
    if bad is not None:
        raise UserError(f"{path}: {bad} holds values that are no numbers; its training diverged")
    return ModelFile(path, cfg, full, header)


def build_detector(stored: ModelFile, *, device: str = "cpu") -> nn.Module:
    """The plain Detectron2 model of a file, complete, in eval mode.

    Raises:
        UserError: keys or shapes that do not fit the config, or a device that is not there.
    """
    from graphkd.checkpoint import load_state

    cfg = stored.cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = device
    model = task_named(stored.header.task).build_model(cfg)
    load_state(model, stored.state, source=str(stored.path))
    return model.eval()


def write_safetensors(
    path: Path, stored: ModelFile, *, header: Header | None = None, half: bool = True
) -> None:
    """Writes a model as one safetensors file with config, class names and calibration inside.

    Args:
        path: the file to write; it replaces an older one in one step.
        stored: the model.
        header: what the file says about itself; by default what `stored` says. Its config and
            precision are set here.
        half: keep weights as float16, half the size; vectors (biases, normalisation) stay float32.
    """
    from safetensors.torch import save

    precision = "float16" if half else "float32"
    header = replace(
        header or stored.header, config=inference_config(stored.cfg), precision=precision
    )
    tensors = {
        key: (value.half() if half and value.is_floating_point() and value.dim() > 1 else value)
        for key, value in stored.state.items()
    }
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    with replacing(path) as stream:
        stream.write(save(tensors, metadata={KEY: header.text()}))


def inference_config(cfg: CfgNode) -> str:
    """The part of a config that a trained model needs, as yaml; it names no file."""
    own = task_of(cfg).inference_keys
    kept = type(cfg)({key: cfg[key].clone() for key in (*_KEPT, *own)})
    kept.MODEL.WEIGHTS = ""
    kept.MODEL.DEVICE = "cpu"
    return kept.dump()


def _config_of(path: Path, config: Path | str | None, header: Header) -> CfgNode:
    """The config named by the user, else the one in the file, else the one beside it."""
    from detectron2.config import CfgNode

    from graphkd.config import YAML_MISTAKES, get_cfg

    beside = path.parent / "config.yaml"
    if config is not None:
        text, source = _text_of(Path(config)), str(config)
    elif header.config:
        text, source = header.config, str(path)
    elif beside.is_file():
        text, source = _text_of(beside), str(beside)
    else:
        raise UserError(f"{path}: no config inside or beside it; name it with --config RUN.yaml")
    cfg = get_cfg(header.task)
    try:
        cfg.merge_from_other_cfg(CfgNode.load_cfg(text))
    except YAML_MISTAKES as error:
        raise UserError(f"{source}: not a config of this project ({error})") from error
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.DEVICE = "cpu"
    cfg.freeze()
    return cfg


def _text_of(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: no such config")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a config of this project ({error.reason})") from error


def read_weights(path: Path | str, *, trust: bool = False, remedy: str = BY_KEY) -> dict:
    """What a weights file holds, as Detectron2's checkpointer wants it; no code of it is run.

    Args:
        path: a `.safetensors`, or anything that `torch.save` wrote.
        trust: also unpickle objects other than tensors, which can run any code.
        remedy: what the message about such objects ends with.

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
        text, state = _read_safetensors(path)
        try:
            said = json.loads(text or "null")
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: damaged safetensors file ({error})") from error
        return {**(said if isinstance(said, dict) else {}), "model": state}
    stored = load_pickle(path, trust=trust, remedy=remedy)
    if not isinstance(stored, dict):
        raise UserError(f"{path}: it holds a {type(stored).__name__}, no weights by name")
    if "model" not in stored:
        stored = {"model": stored}
    if not isinstance(stored["model"], dict) or not stored["model"]:
        raise UserError(f"{path}: it holds no weights by name")
    return stored


def require_trust(path: str, *, trust: bool) -> None:
    """Refuses a file of the kinds that can only be unpickled, unless it is trusted.

    Raises:
        UserError: `path` ends in .pkl or .pyth and `trust` is False.
    """
    if path.endswith(PICKLES) and not trust:
        raise UserError(f"{path}: a pickle, and reading it can run any code; {BY_KEY}")


def load_pickle(path: Path, *, trust: bool, remedy: str = BY_OPTION) -> object:
    """What a `.pth` holds, read without running code from it; a flipped bit in it is noticed.

    Args:
        path: the file.
        trust: fall back to full unpickling where it holds more than tensors and plain values.
        remedy: how the user says that he trusts a file, for the message.

    Raises:
        UserError: it holds other objects and is not trusted, or is damaged.
    """
    import torch

    _check_sums(path)
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


def _check_sums(path: Path) -> None:
    """Compares every record of a file that `torch.save` wrote with its CRC-32.

    `torch.load` does not: a flipped bit would go into the weights unseen. Files of other kinds
    (torch's old format has no sums) pass.
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


def _read_checkpoint(path: Path, *, trust: bool) -> dict:
    """A run's `.pth`, with tensors under "model" and class names."""
    import torch

    stored = load_pickle(path, trust=trust)
    if not isinstance(stored, dict) or not isinstance(stored.get("model"), dict):
        raise UserError(f"{path}: it holds no model of this project; name a run's model file")
    if not stored.get("classes"):
        raise UserError(f"{path}: it names no classes; train or export it with graphkd")
    try:
        state = {key: torch.as_tensor(value) for key, value in stored["model"].items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: it holds no model of this project ({error})") from error
    return {**stored, "model": state}


def _read_safetensors(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The text of this project's header (empty in a foreign file) and tensors by name."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}
            return (file.metadata() or {}).get(KEY, ""), state
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{path}: damaged safetensors file ({error})") from error


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
