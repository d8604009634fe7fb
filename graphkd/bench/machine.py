"""Facts about the machine of a measurement, and numbers as text."""

import os
import platform

import torch

from graphkd.errors import UserError
from graphkd.evaluation.timing import processor


def describe_machine(device: str = "cpu") -> dict:
    """Processor, cores, torch and its threads, load, and the GPU if it is used."""
    usable = getattr(os, "sched_getaffinity", None)
    about = {
        "processor": processor(),
        "cores": len(usable(0)) if usable else os.cpu_count(),
        "all_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }
    if device.startswith("cuda"):
        about["gpu"] = torch.cuda.get_device_name(device)
    return about


def set_threads(threads: int | None) -> None:
    """Sets the number of torch's threads; None does not change it.

    Raises:
        UserError: the number is below 1.
    """
    if threads is None:
        return
    if threads < 1:
        raise UserError(f"--threads is {threads}; it must be 1 or more")
    torch.set_num_threads(threads)


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds with one decimal."""
    return f"{1000 * seconds:.1f}"


def machine_line(machine: dict) -> str:
    """The last line of a table: processor or GPU, threads, and a warning on a busy machine."""
    place = machine.get("gpu") or machine["processor"]
    line = f"on {place}, {machine['threads']} threads, torch {machine['torch']}"
    load, cores = machine["load"], machine["all_cores"]
    # The measurement itself can keep all cores busy, but not more.
    if load is not None and load > cores + 0.5:
        line += f"; load {load} on {cores} cores: other processes disturb these times"
    return line
