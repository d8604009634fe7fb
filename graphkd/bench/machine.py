"""What a measurement ran on, and numbers as text for a terminal."""

import os
import platform
from collections.abc import Sequence

import torch
from tabulate import tabulate

from graphkd.errors import UserError
from graphkd.evaluation.timing import processor

DASH = "–"


def describe_machine(device: str = "cpu") -> dict:
    """Processor, cores this process may use, torch and its threads, and the GPU if it is used."""
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
    """Sets torch's threads for one operation; None leaves them as they are.

    Raises:
        UserError: fewer than one.
    """
    if threads is None:
        return
    if threads < 1:
        raise UserError(f"--threads {threads}: give 1 or more")
    torch.set_num_threads(threads)


def table(rows: Sequence[Sequence], headings: Sequence[str]) -> str:
    """A table for a terminal, the first column of words, the others of numbers."""
    align = ("left", *["right"] * (len(headings) - 1))
    return tabulate(
        rows, headers=headings, tablefmt="simple", disable_numparse=True, colalign=align
    )


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds with one decimal."""
    return f"{1000 * seconds:.1f}"


def machine_line(machine: dict) -> str:
    """The last line of every table: processor or GPU, threads, and a warning if it was busy."""
    place = machine.get("gpu") or machine["processor"]
    line = f"on {place}, {machine['threads']} threads, torch {machine['torch']}"
    load, cores = machine["load"], machine["all_cores"]
    # A measurement alone keeps about as many cores busy as there are.
    if load is not None and load > cores + 0.5:
        line += f"; load {load} on {cores} cores: other processes disturb these times"
    return line
