"""The training data stream: page order and augmentation follow from the seed and the position
alone.
"""

import os
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from graphkd.data.catalog import training_dicts
from graphkd.errors import UserError

Draw = tuple[int, int]


class PositionSampler(Sampler):
    """An endless stream of batches of (position, page), a new permutation each epoch.

    The same seed gives the same pages at the same positions whatever the number of workers or
    processes, and a resumed run enters the stream at any step.
    """

    def __init__(
        self,
        pages: int,
        *,
        batch: int,
        seed: int,
        start_step: int = 0,
        rank: int = 0,
        world: int = 1,
    ):
        """`batch` is the total over `world` processes and must divide by it; `rank` takes its
        share.
        """
        self.pages, self.batch, self.seed = pages, batch, seed
        self.start_step, self.rank, self.world = start_step, rank, world

    def __iter__(self) -> Iterator[list[Draw]]:
        share = self.batch // self.world
        epoch, order = -1, None
        step = self.start_step
        while True:
            first = step * self.batch + self.rank * share
            draws = []
            for position in range(first, first + share):
                if position // self.pages != epoch:
                    epoch = position // self.pages
                    order = self._permutation(epoch)
                draws.append((position, int(order[position % self.pages])))
            yield draws
            step += 1

    def _permutation(self, epoch: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(self.pages, generator=generator)


class MappedPages(Dataset):
    """Dataset dicts through a Detectron2 mapper whose random draws follow from the position."""

    def __init__(self, dicts: list[dict], mapper, *, seed: int):
        self.dicts, self.mapper, self.seed = dicts, mapper, seed

    def __len__(self) -> int:
        return len(self.dicts)

    def __getitem__(self, draw: Draw) -> dict:
        position, index = draw
        # Detectron2's augmentations draw from numpy's global state.
        np.random.seed((self.seed * 1_000_003 + position) % 2**32)
        return self.mapper(self.dicts[index])


def _as_list(batch: list[dict]) -> list[dict]:
    return batch


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
    # A signal to the whole group (Ctrl-C, a batch system) is for the main process, which still
    # needs the pages of its last step.
    os.setpgrp()


def build_train_loader(
    cfg, mapper, *, start_step: int, rank: int = 0, world: int = 1
) -> DataLoader:
    """The endless loader of a training run, batches as lists of mapped dicts.

    Args:
        cfg: reads DATASETS.TRAIN, DATALOADER, SOLVER.IMS_PER_BATCH and SEED.
        mapper: callable from a data set dict to a mapped one.
        start_step: steps already taken (resume).
        rank: this process.
        world: number of processes.

    Raises:
        UserError: no page, or a batch that does not divide by the processes.
    """
    dicts = training_dicts(cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS)
    if not dicts:
        raise UserError(f"{', '.join(cfg.DATASETS.TRAIN)}: no page to train on")
    if cfg.SOLVER.IMS_PER_BATCH % world:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} does not divide by {world} processes"
        )
    seed = max(cfg.SEED, 0)
    workers = cfg.DATALOADER.NUM_WORKERS
    return DataLoader(
        MappedPages(dicts, mapper, seed=seed),
        batch_sampler=PositionSampler(
            len(dicts),
            batch=cfg.SOLVER.IMS_PER_BATCH,
            seed=seed,
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
