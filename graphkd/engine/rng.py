"""Random state: keeping a stretch of code from moving it, and carrying it through a checkpoint."""

import random
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def preserved_rng():
    """Runs a block whose draws leave Python's, numpy's and torch's random state as they were.

    Building a teacher or an adapter inside it gives the distilled run the same data order, flips
    and region samples as the plain run of the same seed.
    """
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        yield
    random.setstate(python)
    np.random.set_state(numpy)


def rng_state() -> dict:
    """Torch's random state of this process, on the CPU and on its GPU, as tensors."""
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_rng_state(state: dict) -> None:
    """Restores what `rng_state` gave."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
