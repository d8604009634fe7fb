"""Maps crops to model inputs, and puts them into batches of one width."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from torch.utils.data import DataLoader

from graphkd.data.check.crops import LabelRules
from graphkd.data.loader import Draw
from graphkd.data.mapper import read_for
from graphkd.errors import UserError
from graphkd.text.ctc import least_frames
from graphkd.text.prepare import BUCKETS, HEIGHT, STRIDE, bucket_of, line_width, prepare_line

# (line (H, W, 3) uint8 RGB, generator) -> the changed line, of any size.
Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def add_crop_config(cfg: CfgNode) -> None:
    """Adds the keys of crops: their size, their batches, and how labels are cleaned."""
    cfg.INPUT.CROPS = CfgNode(
        {
            "HEIGHT": HEIGHT,  # rows of the model's input, 32 or 48
            # Longer lines are left out of the training, or squeezed with 2048, the widest bucket.
            # Pixels at HEIGHT.
            "MAX_WIDTH": BUCKETS[-1],
            # A batch of lines of this width has SOLVER.IMS_PER_BATCH lines; shorter lines come in
            # larger batches, longer ones in smaller ones.
            "BATCH_WIDTH": 320,
            "AUGMENT": 0.5,  # probability that a line is changed in training, see crop_augment.py
            # What becomes of characters that the charset lacks: drop_line, drop_char or replace
            # (by REPLACEMENT).
            "UNKNOWN": "drop_line",
            "REPLACEMENT": "?",
            "NORM": "nfc",  # Unicode form of the labels: nfc, nfkc or none
            "HALF_WIDTH": False,  # full-width ASCII becomes ASCII
        }
    )


def label_rules(cfg: CfgNode) -> LabelRules:
    """How a config has labels cleaned.

    Raises:
        UserError: a key has a value that has no meaning.
    """
    keys = cfg.INPUT.CROPS
    if not 16 <= keys.HEIGHT <= 128:
        raise UserError(f"INPUT.CROPS.HEIGHT is {keys.HEIGHT}; use 16 to 128 rows")
    return LabelRules(
        unknown=keys.UNKNOWN,
        replacement=keys.REPLACEMENT,
        norm=keys.NORM,
        half_width=keys.HALF_WIDTH,
        height=keys.HEIGHT,
        max_width=keys.MAX_WIDTH,
    )


class CropMapper:
    """Reads a line, augments it in training and gives the model's input.

    A mapped item has the keys of the dict and `image` (3, HEIGHT, bucket) uint8 in
    cfg.INPUT.FORMAT; `line_width`, its valid columns (what comes after them is 0 and is set to 0
    again by the model after its normalisation); in training also `progress`.
    """

    def __init__(self, cfg: CfgNode, *, is_train: bool, augment: Augment | None = None):
        """`augment` changes lines in training; None leaves them as they are."""
        if cfg.INPUT.FORMAT not in ("BGR", "RGB"):
            raise UserError(f"INPUT.FORMAT is {cfg.INPUT.FORMAT}; readers take BGR or RGB")
        self.reverse = cfg.INPUT.FORMAT == "BGR"
        self.height, self.is_train = cfg.INPUT.CROPS.HEIGHT, is_train
        self.augment = augment if is_train else None

    def __call__(self, dataset_dict: dict[str, Any], progress: float = 0.0) -> dict[str, Any]:
        """Maps one dict of `graphkd.data.crops`; it is not changed.

        Raises:
            UserError: the picture cannot be read, or its size differs from the one in the dict.
        """
        line, least = read_for(dataset_dict, format="RGB"), 1
        if self.augment is not None:
            # The loader seeds numpy's global generator by the position in the stream.
            line = self.augment(line, np.random.default_rng(np.random.randint(2**31)))
            # A narrower line must keep room for its label.
            least = STRIDE * (least_frames(dataset_dict["text"]) - 1) + 1
        pixels, width = prepare_line(
            line, height=self.height, bucket=dataset_dict.get("bucket"), least=least
        )
        if self.reverse:
            pixels = pixels[:, :, ::-1]
        item = {
            **dataset_dict,
            "image": torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
            "line_width": width,
        }
        if self.is_train:
            item["progress"] = progress
        return item


def bucket_for(line: dict[str, Any], *, height: int) -> int:
    """The bucket of a dict of `graphkd.data.crops`."""
    return bucket_of(line_width((line["height"], line["width"]), height=height))


def batch_size(bucket: int, *, lines: int, width: int) -> int:
    """Number of lines of a bucket with about as many pixels as `lines` of some width."""
    return max(1, round(lines * width / bucket))


class BucketBatches:
    """Batches of lines of one bucket, in an order that follows from seed and step.

    Every epoch has each line once. A bucket with fewer lines than fill a batch goes into the next
    wider one, and the widest one is filled up from the next narrower one, so that no batch is
    small; the batches of a bucket have about equal sizes.
    """

    def __init__(self, lines: Sequence[dict[str, Any]], cfg: CfgNode, *, seed: int):
        """Writes into each of `lines` the width to which it is padded in training, as `bucket`."""
        self.seed, keys = seed, cfg.INPUT.CROPS
        by_bucket: dict[int, list[int]] = {}
        for index, line in enumerate(lines):
            by_bucket.setdefault(bucket_for(line, height=keys.HEIGHT), []).append(index)
        groups: list[tuple[int, int, list[int]]] = []  # bucket, lines in a batch, indices
        waiting: list[int] = []
        for bucket in sorted(by_bucket):
            waiting += by_bucket[bucket]
            size = batch_size(bucket, lines=cfg.SOLVER.IMS_PER_BATCH, width=keys.BATCH_WIDTH)
            if len(waiting) >= size or bucket == max(by_bucket):
                groups.append((bucket, size, waiting))
                waiting = []
        if len(groups) > 1:
            (*_, narrower), (_, size, widest) = groups[-2:]
            while len(widest) < size:
                widest.append(narrower.pop())
        for bucket, _, indices in groups:
            for index in indices:
                lines[index]["bucket"] = bucket
        # (indices, number of batches)
        self.groups = [(np.array(found), -(-len(found) // size)) for _, size, found in groups]
        self.per_epoch = sum(count for _, count in self.groups)
        self.largest = max(-(-len(indices) // count) for indices, count in self.groups)
        self._epoch, self._batches = -1, []

    def __call__(self, step: int) -> list[Draw]:
        """(position in the stream, index) of the lines of a step."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            rng = np.random.default_rng([self.seed, epoch])
            batches = []
            for indices, count in self.groups:
                batches += np.array_split(rng.permutation(indices), count)
            order = rng.permutation(len(batches))
            self._epoch, self._batches = epoch, [batches[i] for i in order]
        first = step * self.largest
        return [(first + i, int(index)) for i, index in enumerate(self._batches[place])]


def scoring_batches(
    lines: Sequence[dict[str, Any]], *, height: int, size: int, width: int = 320
) -> list[list[int]]:
    """Indices of all lines in batches of one bucket each, the narrow ones first.

    Args:
        lines: dicts of `graphkd.data.crops`.
        height: of the network.
        size: lines of `width` in a batch; the batch size falls with the width.
        width: see `size`.
    """
    by_bucket: dict[int, list[int]] = {}
    for index, line in enumerate(lines):
        by_bucket.setdefault(bucket_for(line, height=height), []).append(index)
    batches = []
    for bucket in sorted(by_bucket):
        indices, step = by_bucket[bucket], batch_size(bucket, lines=size, width=width)
        batches += [indices[at : at + step] for at in range(0, len(indices), step)]
    return batches


def scoring_loader(
    cfg: CfgNode,
    lines: Sequence[dict[str, Any]],
    mapper: Callable[[dict], dict],
    *,
    size: int = 32,
    rank: int = 0,
    world: int = 1,
) -> DataLoader:
    """A loader of all lines for scoring; each process gets whole batches of its own."""
    from detectron2.data.common import MapDataset

    batches = scoring_batches(lines, height=cfg.INPUT.CROPS.HEIGHT, size=size)
    return DataLoader(
        MapDataset(list(lines), mapper),
        batch_sampler=batches[rank::world],
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_as_they_are,
    )


def _as_they_are(batch: list[dict]) -> list[dict]:
    return batch
