"""Sums over the processes of a distributed run, for use inside a loss."""

import torch
import torch.distributed
from torch import Tensor


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of `values` over all processes; `values` itself in a run of one process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        values = values.clone()  # all_reduce works in place
        torch.distributed.all_reduce(values)
    return values


def count_per_process(count: Tensor) -> Tensor:
    """The mean of `count` over the processes, where the total is at least one.

    DistributedDataParallel averages gradients over the processes. A sum over the items of one
    process, divided by this number, therefore gives the mean over the items of all processes, even
    if they have different numbers of items.

    Args:
        count: number of items of this process, a scalar; every process must call this.
    """
    joined = sum_over_processes(torch.stack([count.float(), torch.ones_like(count).float()]))
    return joined[0].clamp(min=1) / joined[1]
