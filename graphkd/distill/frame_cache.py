"""Frames of a reader in a small form, and their cache on disk, shared by all runs.

Of every frame the blank, the 8 most probable other classes and the mass of all the rest are kept,
36 bytes. The cache is a folder of shards: an array of frames that is mapped into memory, and a json
beside it that says which lines it holds.
"""

import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from graphkd.distill.cache import ANSWER
from graphkd.errors import UserError
from graphkd.io import file_digest, replacing, write_json
from graphkd.text.prepare import PREPARATION

logger = logging.getLogger(__name__)

TOP = 8
FRAME = np.dtype([("classes", "<u2", TOP), ("mass", "<f2", TOP), ("blank", "<f2"), ("rest", "<f2")])
# Lines a shard. A killed run computes at most so many again.
_SHARD = 1024
_LOG_SECONDS = 30.0


def packed(probabilities: np.ndarray) -> np.ndarray:
    """The frames (T,) of type `FRAME` of probabilities (T, C); class 0 is the blank.

    Raises:
        UserError: there are more classes than the type can number.
    """
    if probabilities.shape[1] > 2**16:
        raise UserError(f"a reader of {probabilities.shape[1]} classes cannot teach; at most 65536")
    others = probabilities[:, 1:]
    count = min(TOP, others.shape[1])
    best = np.argpartition(-others, count - 1, axis=1)[:, :count]
    # The best first, and of equals the first class, so that the same frame gives the same bytes.
    best = np.take_along_axis(best, np.argsort(best, axis=1), 1)
    mass = np.take_along_axis(others, best, 1)
    order = np.argsort(-mass, axis=1, kind="stable")
    frames = np.zeros(len(probabilities), FRAME)
    frames["classes"][:, :count] = np.take_along_axis(best, order, 1) + 1
    frames["mass"][:, :count] = np.take_along_axis(mass, order, 1)
    frames["blank"] = probabilities[:, 0]
    kept = probabilities[:, 0] + mass.sum(1)
    frames["rest"] = np.clip(probabilities.sum(1) - kept, 0, 1)
    return frames


def unpacked(frames: np.ndarray, classes: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of another class list.

    Args:
        frames: (T,) of type `FRAME`.
        classes: the class of every class of the reader in the new list; -1 for none.
        size: number of the new classes.

    Returns:
        (T, size) float32, rows that sum to 1; and the mass that had no class, (T,) in 0..1.
    """
    found = np.zeros((len(frames), size), np.float32)
    found[:, 0] = frames["blank"]
    places, mass = classes[frames["classes"]], frames["mass"].astype(np.float32)
    rows = np.broadcast_to(np.arange(len(frames))[:, None], places.shape)
    there = (places >= 0) & (mass > 0)
    np.add.at(found, (rows[there], places[there]), mass[there])
    kept = found.sum(1)
    lost = np.where(there, 0, mass).sum(1) + frames["rest"].astype(np.float32)
    return found / np.maximum(kept, 1e-8)[:, None], lost / np.maximum(kept + lost, 1e-8)


@dataclass(frozen=True)
class Place:
    """Where the frames of a line lie: `start` to `stop` of a shard."""

    shard: Path
    start: int
    stop: int

    def read(self) -> np.ndarray:
        """The frames, (T,) of type `FRAME`."""
        return np.array(_opened(self.shard)[self.start : self.stop])


@cache
def _opened(shard: Path) -> np.ndarray:
    # Opened by each process itself: a mapped array that is sent to a worker becomes a copy.
    return np.load(shard, mmap_mode="r")


class FrameCache:
    """The shards of one model.

    A line's key is the SHA-256 of the model with its preprocessing, the number of the preparation,
    and the prepared line before augmentation, so another of them is a miss.
    """

    def __init__(self, folder: Path, identity: str):
        """`identity` stands for the model's file and its preprocessing."""
        self.folder, self.identity = folder / f"frames_{identity[:16]}", identity

    def key(self, line: np.ndarray) -> str:
        """The key of a prepared line, uint8 (height, width, 3)."""
        about = f"{self.identity} {PREPARATION} {line.shape} "
        return hashlib.sha256(about.encode() + np.ascontiguousarray(line).tobytes()).hexdigest()

    def known(self) -> dict[str, Place]:
        """The places of all lines in whole shards, by key."""
        found: dict[str, Place] = {}
        for about in sorted(self.folder.glob("*.json")):
            shard = about.with_suffix(".npy")
            try:
                stored = json.loads(about.read_text())
                if file_digest(shard) != stored["sha256"]:
                    raise ValueError("another checksum")
                lines = {key: Place(shard, *span) for key, span in stored["lines"].items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                logger.warning("%s is damaged and not used (%s)", shard, error)
                continue
            found.update(lines)
        return found

    def fill(
        self,
        items: Sequence[dict],
        prepare: Callable[[dict], np.ndarray],
        compute: Callable[[np.ndarray], np.ndarray],
    ) -> dict[str, Place]:
        """Computes the lines that are missing; returns the place of every `file_name`.

        Args:
            items: lines.
            prepare: line -> its pixels before augmentation, uint8 (height, width, 3).
            compute: these pixels -> (T,) of type `FRAME`.
        """
        known, keys, new = self.known(), {}, {}
        # Processes that fill the same folder start at different lines.
        first, logged, count = os.getpid() % max(len(items), 1), time.monotonic(), 0
        for number, item in enumerate([*items[first:], *items[:first]], start=1):
            line = prepare(item)
            key = keys[item["file_name"]] = self.key(line)
            if key not in known and key not in new:
                new[key], count = compute(line), count + 1
            if len(new) == _SHARD:
                known.update(self._write(new))
                new = {}
            if time.monotonic() - logged > _LOG_SECONDS:
                logged = time.monotonic()
                logger.info("frames of the teacher: %d of %d lines", number, len(items))
        if new:
            known.update(self._write(new))
        logger.info("frames of the teacher: %d lines, %d of them new", len(items), count)
        return {name: known[key] for name, key in keys.items()}

    def _write(self, lines: Mapping[str, np.ndarray]) -> dict[str, Place]:
        self.folder.mkdir(parents=True, exist_ok=True)
        shard = self.folder / f"{secrets.token_hex(8)}.npy"
        with replacing(shard, sync=True) as stream:
            np.save(stream, np.concatenate(list(lines.values())))
        ends = np.cumsum([len(frames) for frames in lines.values()]).tolist()
        spans = zip([0, *ends], ends, strict=False)
        stored = dict(zip(lines, spans, strict=True))
        # The json comes last: a shard without it is not there.
        write_json(shard.with_suffix(".json"), {"sha256": file_digest(shard), "lines": stored})
        return {key: Place(shard, *span) for key, span in stored.items()}


class CachedFrames:
    """A mapper that adds the teacher's frames to every item of another mapper.

    They are those of the line before augmentation, which may change its colours and its width and
    cut off a pixel or two of its margin, less than half a frame. The losses stretch them over the
    valid frames.
    """

    def __init__(self, mapper: Callable[..., dict], places: Mapping[str, Place]):
        self.mapper, self.places = mapper, places

    def __call__(self, item: dict[str, Any], progress: float = 0.0) -> dict[str, Any]:
        """The mapped item, with the frames under `ANSWER`."""
        return {**self.mapper(item, progress), ANSWER: self.places[item["file_name"]].read()}
