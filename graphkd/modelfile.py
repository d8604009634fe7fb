"""Trained detectors as files: reading `.pth` and `.safetensors` with config and class names, and
writing the small form; no training state, no ONNX.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from detectron2.config import CfgNode
from safetensors.torch import save
from torch import Tensor, nn

from graphkd.checkpoint import load_state
from graphkd.config import YAML_MISTAKES, get_cfg
from graphkd.errors import UserError
from graphkd.facts import card_of, class_list, threshold_table
from graphkd.modeling.network import build_network, model_classes
from graphkd.weights import load_pickle, read_safetensors

FORMAT = 1
_KEPT = ("MODEL", "INPUT", "TEST")


@dataclass(frozen=True)
class ModelFile:
    """A trained detector as read from a file.

    Attributes:
        path: the file.
        cfg: frozen config that builds it, on the CPU; MODEL.WEIGHTS is empty.
        classes: names, in the order of the model's class numbers.
        state: parameter and buffer name -> float32 tensor.
        thresholds: class name -> score in 0..1 from which a box is shown; empty where the file
            names none.
        card: free facts about the training (text values), empty for a `.pth`.
    """

    path: Path
    cfg: CfgNode
    classes: tuple[str, ...]
    state: Mapping[str, Tensor]
    thresholds: Mapping[str, float]
    card: Mapping[str, str]


def read_model(
    path: Path | str, *, config: Path | str | None = None, trust: bool = False
) -> ModelFile:
    """Reads a trained detector; nothing in the file is executed unless `trust` says so.

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
    if path.suffix == ".safetensors":
        return _read_safetensors(path, config)
    if path.suffix != ".pth":
        raise UserError(f"{path}: a model is a .pth or .safetensors file")
    stored = load_pickle(path, trust=trust)
    if not isinstance(stored, dict) or not isinstance(stored.get("model"), dict):
        raise UserError(f"{path}: it holds no detector of this project; name a run's model file")
    if not stored.get("classes"):
        raise UserError(f"{path}: it names no classes; train or export it with graphkd")
    try:
        state = {key: torch.as_tensor(value) for key, value in stored["model"].items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: it holds no detector of this project ({error})") from error
    cfg = _config_of(path, config, stored.get("config"))
    return _model_file(path, cfg, stored["classes"], state, {}, {})


def build_detector(stored: ModelFile, *, device: str = "cpu") -> nn.Module:
    """The plain Detectron2 model of a file, complete, in eval mode.

    Raises:
        UserError: keys or shapes that do not fit the config, or a device that is not there.
    """
    cfg = stored.cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = device
    model = build_network(cfg)
    load_state(model, stored.state, source=str(stored.path))
    return model.eval()


def write_safetensors(
    path: Path,
    stored: ModelFile,
    *,
    thresholds: Mapping[str, float] | None = None,
    card: Mapping[str, str] | None = None,
    half: bool = True,
) -> None:
    """Writes a detector as one safetensors file with config, class names and thresholds inside.

    Args:
        path: the file to write; it replaces an older one in one step.
        stored: the detector.
        thresholds: class name -> score in 0..1; those of `stored` by default.
        card: facts about the training.
        half: keep weights as float16, half the size; vectors (biases, normalisation) stay float32.
    """
    header = {
        "format": FORMAT,
        "classes": list(stored.classes),
        "config": inference_config(stored.cfg),
        "thresholds": dict(stored.thresholds if thresholds is None else thresholds),
        "card": dict(stored.card if card is None else card),
    }
    tensors = {
        key: (value.half() if half and value.is_floating_point() and value.dim() > 1 else value)
        for key, value in stored.state.items()
    }
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.write_bytes(save(tensors, metadata={"graphkd": json.dumps(header)}))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def inference_config(cfg: CfgNode) -> str:
    """The part of a config that a trained detector needs, as yaml; it names no file."""
    kept = CfgNode({key: cfg[key].clone() for key in _KEPT})
    kept.MODEL.WEIGHTS = ""
    kept.MODEL.DEVICE = "cpu"
    return kept.dump()


def _read_safetensors(path: Path, config: Path | str | None) -> ModelFile:
    header, state = read_safetensors(path)
    if header is None or "classes" not in header:
        raise UserError(f"{path}: it names no classes; write it with `graphkd export`")
    if header.get("format") != FORMAT:
        raise UserError(
            f"{path}: format {header.get('format')}, this version reads {FORMAT}; update graphkd"
        )
    cfg = _config_of(path, config, header.get("config"))
    return _model_file(
        path, cfg, header["classes"], state, header.get("thresholds", {}), header.get("card", {})
    )


def _model_file(
    path: Path,
    cfg: CfgNode,
    classes: Sequence[str],
    state: Mapping[str, Tensor],
    thresholds: Mapping[str, float],
    card: Mapping[str, str],
) -> ModelFile:
    known = model_classes(cfg)
    try:
        names = class_list(classes)
        if len(names) != known:
            raise ValueError(f"it names {len(names)} classes, its network has {known}")
        scores, facts = threshold_table(thresholds, names), card_of(card)
    except ValueError as error:
        raise UserError(f"{path}: {error}; write the file again") from error
    full = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    bad = next((key for key, value in full.items() if not value.isfinite().all()), None)
    if bad is not None:
        raise UserError(f"{path}: {bad} holds values that are no numbers; its training diverged")
    return ModelFile(path, cfg, names, full, scores, facts)


def _config_of(path: Path, config: Path | str | None, inside: str | None) -> CfgNode:
    """The config named by the user, else the one in the file, else the one beside it."""
    beside = path.parent / "config.yaml"
    if config is not None:
        text, source = _text_of(Path(config)), str(config)
    elif inside is not None:
        text, source = inside, str(path)
    elif beside.is_file():
        text, source = _text_of(beside), str(beside)
    else:
        raise UserError(f"{path}: no config inside or beside it; name it with --config RUN.yaml")
    cfg = get_cfg()
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
