"""What a measurement ran on, in words for a table and for JSON; measures nothing itself."""

import os
import platform
from pathlib import Path

import torch

from graphkd.errors import UserError


def describe_machine(device: str = "cpu") -> dict:
    """Processor, cores this process may use, torch and its threads, and the GPU if it is used."""
    about = {
        "processor": _processor(),
        "cores": _cores(),
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


def _cores() -> int | None:
    """Cores that this process may use, where the system tells them apart from all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
