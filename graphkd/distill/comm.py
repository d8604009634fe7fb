"""Sums over the processes of a distributed run that work inside a loss."""

import torch
import torch.distributed
from torch import Tensor


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of `values` over all processes; `values` itself where there is one process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        values = values.clone()
        torch.distributed.all_reduce(values)
    return values


def count_per_process(count: Tensor) -> Tensor:
    """The mean of `count` over the processes, at least one in all processes together.

    DistributedDataParallel averages gradients over processes, so a sum over the items of one
    process divided by this is the mean over the items of all, however they are spread.

    Args:
        count: scalar, of this process; every process has to call.
    """
    joined = sum_over_processes(torch.stack([count.float(), torch.ones_like(count).float()]))
    return joined[0].clamp(min=1) / joined[1]
