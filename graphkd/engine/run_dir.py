"""Whether a run's folder belongs to a config, and where another run's is moved; no training."""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from graphkd.config import get_cfg
from graphkd.engine.inputs import changed_input
from graphkd.errors import UserError

logger = logging.getLogger(__name__)

ABOUT = "about.json"
_ANEW = "train without --resume or with another OUTPUT_DIR"
# They say where, how fast and how carefully a run is made and what it notes on the way, not what
# comes out; the teacher's weights are compared by their content instead.
_PLACES = (
    "OUTPUT_DIR",
    "MODEL.DEVICE",
    "DATALOADER.NUM_WORKERS",
    "DISTILL.TEACHER.WEIGHTS",
    "DISTILL.TEACHER.COMPILE",
    "SOLVER.SKIP_NONFINITE",
    "SOLVER.CHECKPOINT_PERIOD",
    "LOG_PERIOD",
    "TEST.EVAL_PERIOD",
    "TRUST_PICKLES",
)


def difference_of(
    one: Mapping, other: Mapping, *, ignore: tuple[str, ...] = ()
) -> tuple[str, Any, Any] | None:
    """The first key, in alphabetical order, that two configs do not share.

    Args:
        one: a config, or the dict of its yaml.
        other: the second one.
        ignore: dotted keys that may differ, with everything below them.

    Returns:
        (dotted key, value in `one`, value in `other`), None for a missing value; None if all agree.
    """
    first, second = dict(_leaves(one)), dict(_leaves(other))
    for key in sorted({*first, *second}):
        if any(key == free or key.startswith(f"{free}.") for free in ignore):
            continue
        if first.get(key) != second.get(key):
            return key, first.get(key), second.get(key)
    return None


def changed_key(written: Mapping, cfg: CfgNode) -> tuple[str, Any, Any] | None:
    """The first key in which another run than that of `cfg` is written; places do not count.

    Args:
        written: the dict of a config.yaml. A key it lacks came later, and counts as its default.
        cfg: a complete config.

    Returns:
        As `difference_of`, the written value first.
    """
    complete = _filled(written, yaml.safe_load(get_cfg().dump()))
    return difference_of(complete, yaml.safe_load(cfg.dump()), ignore=_PLACES)


def _filled(node: Mapping, defaults: Mapping) -> dict:
    found = {**defaults, **node}
    for key, value in defaults.items():
        if isinstance(value, Mapping) and isinstance(node.get(key), Mapping):
            found[key] = _filled(node[key], value)
    return found


def _leaves(node: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def free_name(folder: Path) -> Path:
    """The first of `<folder>.old1`, `.old2` ... that is free."""
    number = 1
    while (place := folder.with_name(f"{folder.name}.old{number}")).exists():
        number += 1
    return place


def holds_run(folder: Path) -> bool:
    """Whether an earlier run left a checkpoint in `folder`."""
    return any(folder.glob("model_*.pth"))


def set_aside(folder: Path) -> None:
    """Moves a folder with checkpoints to a free name beside it; nothing of an earlier run is
    lost.
    """
    if not holds_run(folder):
        return
    place = free_name(folder)
    logger.warning("%s holds an earlier run; it is moved to %s", folder, place.name)
    folder.rename(place)


def check_same_run(cfg: CfgNode, folder: Path, inputs: Mapping[str, str | None]) -> None:
    """Refuses to go on with another run.

    Args:
        cfg: a complete config.
        folder: where a run may have begun.
        inputs: what `inputs_of` says of the files that are there now.

    Raises:
        UserError: the config written in `folder` differs in anything but places, or it began with
            another teacher, other first weights or other data.
    """
    written = folder / "config.yaml"
    if not written.is_file():
        return
    changed = changed_key(yaml.safe_load(written.read_text()), cfg)
    if changed:
        key, before, now = changed
        raise UserError(f"{folder} holds a run with {key} {before}, now it is {now}; {_ANEW}")
    if other := changed_input(read_about(folder), inputs):
        raise UserError(f"{folder} holds a run: {other}; {_ANEW}")


def read_about(folder: Path) -> dict[str, str | None]:
    """What the run in `folder` said when it began; empty where that is not there or damaged."""
    try:
        said = json.loads((folder / ABOUT).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
