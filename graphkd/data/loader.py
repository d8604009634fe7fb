"""The training data stream. Its items, their order and augmentation depend only on the seed and the
position in the stream, so a resumed run continues with the same data.
"""

import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from graphkd.errors import UserError

# (position in the endless stream, index into the items); the position seeds the augmentation.
Draw = tuple[int, int]
# The same, preceded by the share of the training that is finished.
Timed = tuple[float, int, int]


class Permutations:
    """Batches of a fixed size, cut from an endless sequence of permutations of the items.

    A batch depends only on seed and step, not on the number of workers or processes. So a resumed
    run can start at any step.
    """

    def __init__(self, items: int, *, batch: int, seed: int):
        self.items, self.batch, self.seed = items, batch, seed
        self._epoch, self._order = -1, None

    def __call__(self, step: int) -> list[Draw]:
        first = step * self.batch
        return [(at, self._index(at)) for at in range(first, first + self.batch)]

    def _index(self, position: int) -> int:
        epoch, place = divmod(position, self.items)
        if epoch != self._epoch:
            # A large prime: seeds and epochs of two runs do not combine to the same number.
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._epoch, self._order = epoch, torch.randperm(self.items, generator=generator)
        return int(self._order[place])


class StreamSampler(Sampler):
    """The endless stream of batches of one process, starting at any step.

    The items of a step are split into one part per process; the sizes of the parts differ by one at
    most.
    """

    def __init__(
        self,
        batches: Callable[[int], Sequence[Draw]],
        *,
        length: int,
        start_step: int = 0,
        rank: int = 0,
        world: int = 1,
    ):
        """`batches` gives the items of a step for all `world` processes; `length` is the number
        of training steps, of which `start_step` are finished.
        """
        self.batches, self.length = batches, length
        self.start_step, self.rank, self.world = start_step, rank, world

    def __iter__(self) -> Iterator[list[Timed]]:
        step = self.start_step
        while True:
            draws = self.batches(step)
            if len(draws) < self.world:
                raise UserError(f"step {step} has {len(draws)} items for {self.world} processes")
            first, end = (len(draws) * r // self.world for r in (self.rank, self.rank + 1))
            progress = min(1.0, step / self.length)
            yield [(progress, position, index) for position, index in draws[first:end]]
            step += 1


class MappedItems(Dataset):
    """Applies a mapper to items; its random draws depend only on the position in the stream."""

    def __init__(self, items: Sequence[dict], mapper: Callable[..., dict], *, seed: int):
        self.items, self.mapper, self.seed = items, mapper, seed

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, draw: Timed) -> dict:
        progress, position, index = draw
        # Detectron2's augmentations use numpy's global generator, whose seed has 32 bits.
        np.random.seed((self.seed * 1_000_003 + position) % 2**32)
        return self.mapper(self.items[index], progress)


def _as_list(batch: list[dict]) -> list[dict]:
    return batch


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C and batch systems signal the whole process group. Workers leave it, because the main
    # process still needs the items of its last step.
    os.setpgrp()


def build_train_loader(
    cfg,
    items: Sequence[dict],
    mapper: Callable[..., dict],
    batches: Callable[[int], Sequence[Draw]],
    *,
    start_step: int,
    rank: int = 0,
    world: int = 1,
) -> DataLoader:
    """Builds the endless loader of a training run; a batch is a list of mapped items.

    Args:
        cfg: reads DATALOADER.NUM_WORKERS, SOLVER.MAX_ITER and SEED.
        items: the result of `Task.training_dicts`.
        mapper: called with an item and the share of the training that is finished.
        batches: step -> the items of all processes, see `Task.batches`.
        start_step: number of steps already taken, for a resume.
        rank: number of this process.
        world: number of processes.

    Raises:
        UserError: there is nothing to train on, or the batch size cannot be divided by the number
            of processes.
    """
    if not items:
        raise UserError(f"{', '.join(cfg.DATASETS.TRAIN)}: no page to train on")
    if isinstance(batches, Permutations) and batches.batch % world:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH is {batches.batch}; it must be a multiple of the number of "
            f"processes, {world}"
        )
    seed, workers = max(cfg.SEED, 0), cfg.DATALOADER.NUM_WORKERS
    return DataLoader(
        MappedItems(items, mapper, seed=seed),
        batch_sampler=StreamSampler(
            batches,
            length=cfg.SOLVER.MAX_ITER,
            start_step=start_step,
            rank=rank,
            world=world,
        ),
        num_workers=workers,
        collate_fn=_as_list,
        worker_init_fn=_one_thread,
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(seed),
    )
