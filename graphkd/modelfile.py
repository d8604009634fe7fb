"""Model files: the header of `.pth`, `.safetensors` and exported files, reading, and writing of
`.safetensors`.

Only the functions that need torch import it, so ONNX models run without it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphkd.errors import UserError
from graphkd.io import replacing
from graphkd.tasks.base import TASKS, task_named, task_of
from graphkd.weight_files import KEY, read_checkpoint, read_safetensors

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from torch import Tensor, nn

FORMAT = 2  # of the header; format 1 is that of version 0.1
_READABLE = (1, 2)
_KEPT = ("MODEL", "INPUT", "TEST")  # the config nodes that every model needs for inference


@dataclass(frozen=True)
class Header:
    """The header of a model file.

    Attributes:
        classes: class names in the order of class numbers.
        task: name of the model's task.
        calibration: name -> number, or dict of numbers, fitted on validation data. Layout models:
            {"thresholds": {class name: lowest shown score in 0..1}}.
        metrics: name -> value on the test set; None for a value that was not measured.
        primary: name of the primary metric; None if `metrics` is empty.
        card: facts about the training, as text by name.
        precision: number format of the weights: "float32", "float16" or "int8".
        score_floor: lowest score that the model can give.
        config: the yaml that builds the network; empty in files that contain the network itself.
        settings: how a task prepares pages and decodes the outputs, if the file does not do it
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
        """Class name -> lowest shown score; may be empty."""
        return self.calibration.get("thresholds", {})

    def text(self) -> str:
        """The header as json, with the number of its format."""
        return json.dumps({"format": FORMAT, **asdict(self)})


def read_header(text: str) -> Header:
    """Reads the result of `Header.text`, in format 1 or 2.

    Raises:
        ValueError: other text, another format, or a damaged value.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not values.get("classes"):
        raise ValueError("it names no classes; write it with `graphkd export`")
    if values.get("format") not in _READABLE:
        raise ValueError(
            f"its format is {values.get('format')}, this version reads 1 and 2; update graphkd"
        )
    try:
        return header_of(values)
    except ValueError as error:
        raise ValueError(f"{error}; export it again") from error


def header_of(values: Mapping[str, Any]) -> Header:
    """Makes a header from the values by name that the json of a header or a checkpoint holds.

    Raises:
        ValueError: a value is damaged.
    """
    classes = _class_list(values.get("classes"))
    calibration = values.get("calibration", {})
    if "calibration" not in values and "thresholds" in values:  # format 1
        calibration = {"thresholds": values["thresholds"]}
    header = Header(
        classes=classes,
        task=values.get("task", "layout"),
        calibration=calibration,
        metrics=values.get("metrics", {}),
        primary=values.get("primary"),
        card=values.get("card", {}),
        precision=str(values.get("precision", "float32")),
        score_floor=values.get("score_floor", 0.0),
        config=values.get("config") or "",
        settings=values.get("settings", {}),
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
        raise ValueError(f"its lowest score is {header.score_floor!r}, not a number in 0..1")
    return header


def _class_list(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise ValueError("its class list is damaged")
    if not value:
        raise ValueError("it names no classes")
    if twice := [name for name in value if value.count(name) > 1]:
        raise ValueError(f"it names the class {twice[0]!r} twice")
    return tuple(value)


def _check_thresholds(value: Any, classes: tuple[str, ...]) -> None:
    """Checks class name -> score; classes may be missing."""
    if not isinstance(value, dict):
        raise ValueError("its thresholds are damaged")
    for name, score in value.items():
        if name not in classes:
            raise ValueError(f"it has a threshold for {name!r}, which is not one of its classes")
        if not _is_score(score):
            raise ValueError(f"its threshold of {name!r} is {score!r}, not a number in 0..1")


def _is_calibration(value: Any) -> bool:
    """Whether it is a finite number or a dict of finite numbers."""
    return all(map(_is_number, value.values())) if isinstance(value, dict) else _is_number(value)


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _is_score(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


@dataclass(frozen=True)
class ModelFile:
    """The content of a `.pth` or `.safetensors` file of a trained model.

    Attributes:
        path: the file.
        cfg: the frozen config that builds the model on the CPU; MODEL.WEIGHTS is empty.
        state: parameter or buffer name -> float32 tensor.
        header: its header; that of a `.pth` may have nothing but the classes.
    """

    path: Path
    cfg: CfgNode
    state: Mapping[str, Tensor]
    header: Header

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of class numbers."""
        return self.header.classes


def read_model(
    path: Path | str, *, config: Path | str | None = None, trust: bool = False
) -> ModelFile:
    """Reads a trained model. No code from the file is run unless `trust` is True.

    Args:
        path: a `.safetensors` of this project, or the checkpoint (`.pth`) of a run.
        config: the run's yaml; by default the config in the file, else `config.yaml` beside it.
        trust: unpickle objects other than tensors, too, which can run any code.

    Raises:
        UserError: the file is missing, damaged or of another kind, or has no config or class list.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    if path.suffix not in (".safetensors", ".pth"):
        raise UserError(f"{path}: a model is a .pth or .safetensors file")
    try:
        if path.suffix == ".safetensors":
            text, state = read_safetensors(path)
            header = read_header(text)
        else:
            stored = read_checkpoint(path, trust=trust)
            state, header = stored["model"], header_of(stored)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    if header.task not in TASKS and not trust:
        # The file could name any module, and importing a module runs its code.
        raise UserError(
            f"{path}: its task {header.task} is not part of graphkd; if you trust the file, allow "
            "it with --trust"
        )
    cfg = _config_of(path, config, header)
    names, known = len(header.classes), task_named(header.task).class_count(cfg)
    if names != known:
        raise UserError(
            f"{path}: it names {names} classes, but its network has {known}; write the file again"
        )
    full = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    bad = next((key for key, value in full.items() if not value.isfinite().all()), None)
    if bad is not None:
        raise UserError(f"{path}: {bad} holds NaN or infinity; the training has diverged")
    return ModelFile(path, cfg, full, header)


def build_detector(stored: ModelFile, *, device: str = "cpu") -> nn.Module:
    """Builds the plain Detectron2 model of a file with all its weights, in eval mode.

    Raises:
        UserError: names or shapes of weights do not fit the config, or the device does not exist.
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
    """Writes a model as one safetensors file that also holds config, class names and calibration.

    Args:
        path: the file to write; an older file is replaced in one step.
        stored: the model.
        header: its header, by default that of `stored`; config and precision are set here.
        half: store weights as float16, which halves the file. Vectors (biases, normalisation) take
            little space and stay float32.
    """
    from safetensors.torch import save

    precision = "float16" if half else "float32"
    header = replace(
        header or stored.header, config=inference_config(stored.cfg), precision=precision
    )
    tensors = {
        key: value.half() if half and value.is_floating_point() and value.dim() > 1 else value
        for key, value in stored.state.items()
    }
    # safetensors refuses tensors in channels-last order.
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    with replacing(path) as stream:
        stream.write(save(tensors, metadata={KEY: header.text()}))


def inference_config(cfg: CfgNode) -> str:
    """The part of a config that a trained model needs, as yaml; it contains no paths."""
    own = task_of(cfg).inference_keys
    kept = type(cfg)({key: cfg[key].clone() for key in (*_KEPT, *own)})
    kept.MODEL.WEIGHTS = ""
    kept.MODEL.DEVICE = "cpu"
    return kept.dump()


def _config_of(path: Path, config: Path | str | None, header: Header) -> CfgNode:
    """The config that the user named, else the one in the file, else the one beside it."""
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
        raise UserError(f"{path}: it has no config inside or beside it; use --config RUN.yaml")
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
