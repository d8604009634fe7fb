"""Starts a job in one process or several, with Detectron2's launcher or inside torchrun."""

import os
import sys
from collections.abc import Callable

import torch
import torch.distributed as dist
from detectron2.engine import launch as detectron2_launch
from detectron2.utils import comm
from torch.multiprocessing import ProcessExitedException

from graphkd.errors import UserError, one_line


def launch(
    job: Callable,
    *,
    num_gpus: int = 1,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    args: tuple = (),
) -> None:
    """Runs `job(*args)` in this process, in one process per GPU that Detectron2 starts, or as one
    of the processes that torchrun started.

    Raises:
        UserError: `num_gpus` is larger than the number of GPUs of this machine.
    """
    if in_torchrun():
        join_torchrun()
        try:
            job(*args)
            # Rank 0 may still be writing files; the group must exist until it has finished.
            comm.synchronize()
        finally:
            dist.destroy_process_group()
        return
    if num_gpus * num_machines > 1 and torch.cuda.device_count() < num_gpus:
        raise UserError(f"--num-gpus {num_gpus}, but this machine has {torch.cuda.device_count()}")
    if num_gpus * num_machines == 1:
        job(*args)
        return
    try:
        detectron2_launch(
            _run_in_process, num_gpus, num_machines, machine_rank, dist_url, (job, args)
        )
    except ProcessExitedException as error:
        # The process has printed its own message; its traceback here would only hide it.
        sys.exit(error.exit_code)


def in_torchrun() -> bool:
    """Whether this is one of several processes that torchrun started."""
    return "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def _run_in_process(job: Callable, args: tuple) -> None:
    """Runs the job in a spawned process; prints a UserError as one line, without a traceback."""
    try:
        job(*args)
    except UserError as error:
        print(one_line(error), file=sys.stderr)
        sys.exit(2)


def join_torchrun() -> None:
    """Joins the process group that torchrun's environment describes: NCCL on GPUs, gloo on CPUs."""
    local = int(os.environ["LOCAL_RANK"])
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if cuda else "gloo")
    per_machine = int(os.environ["LOCAL_WORLD_SIZE"])
    # Detectron2 0.6 has no public way to set its group of processes on one machine.
    for first in range(0, dist.get_world_size(), per_machine):
        group = dist.new_group(list(range(first, first + per_machine)))
        if first <= dist.get_rank() < first + per_machine:
            comm._LOCAL_PROCESS_GROUP = group
