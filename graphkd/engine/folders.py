"""Whether a run's folder belongs to a config, and where another run's is moved; no training."""

import contextlib
import fcntl
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from graphkd.errors import UserError

logger = logging.getLogger(__name__)

# They say where, how fast and how carefully a run is made, not what comes out; the teacher's
# weights are compared by their content instead.
PLACES = (
    "OUTPUT_DIR",
    "MODEL.DEVICE",
    "DATALOADER.NUM_WORKERS",
    "DISTILL.TEACHER.WEIGHTS",
    "DISTILL.TEACHER.COMPILE",
    "SOLVER.SKIP_NONFINITE",
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


def set_aside(folder: Path) -> None:
    """Moves a folder with checkpoints to a free name beside it; nothing of an earlier run is
    lost.
    """
    if not list(folder.glob("model_*.pth")):
        return
    place = free_name(folder)
    logger.warning("%s holds an earlier run; it is moved to %s", folder, place.name)
    folder.rename(place)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a folder of several runs; the system frees it in any case.

    Raises:
        UserError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{folder}: another process works there; wait for its end") from error
        yield


def check_same_run(cfg: CfgNode, folder: Path) -> None:
    """Refuses to go on with a run of another config.

    Raises:
        UserError: the config written in `folder` differs in anything but places.
    """
    written = folder / "config.yaml"
    if not written.is_file():
        return
    changed = difference_of(
        yaml.safe_load(written.read_text()), yaml.safe_load(cfg.dump()), ignore=PLACES
    )
    if changed:
        key, before, now = changed
        raise UserError(
            f"{folder} holds a run with {key} {before}, now it is {now}; train without --resume or "
            "with another OUTPUT_DIR"
        )
