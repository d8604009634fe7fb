"""Times several functions in alternating rounds, with median and quartiles; names the processor."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from graphkd.errors import UserError

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Times:
    """Seconds of every timed call of one part, in the order of the rounds; at least one."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median seconds of a call."""
        return float(np.median(self.seconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile in seconds; half of all calls lie between them."""
        low, high = np.percentile(self.seconds, [25, 75])
        return float(low), float(high)

    @property
    def p95(self) -> float:
        """The 95th percentile in seconds, interpolated."""
        return float(np.percentile(self.seconds, 95))


def alternate(
    parts: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_ups: int = 2,
    wait: Callable[[], None] = lambda: None,
    clock: str = "wall",
    title: str = "timing",
) -> dict[str, Times]:
    """Times every part once per round, so that a slow minute of the machine affects all parts.

    Args:
        parts: name -> what to call.
        rounds: timed rounds, 1 or more.
        warm_ups: untimed rounds before them.
        wait: called before each reading of the clock, because GPU calls return before the work is
            done.
        clock: `wall` for wall time, or `cpu` for the processor time of all threads of this process,
            which other processes on the machine influence less.
        title: title of the progress bar.

    Raises:
        UserError: fewer than one round.
    """
    if rounds < 1:
        raise UserError(f"{rounds} timed rounds measure nothing; ask for 1 or more")
    now = CLOCKS[clock]
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    with tqdm(total=(warm_ups + rounds) * len(parts), desc=title, leave=False) as bar:
        for round_number in range(-warm_ups, rounds):
            for name, part in parts.items():
                bar.set_postfix_str(name)
                wait()
                started = now()
                part()
                wait()
                if round_number >= 0:
                    seconds[name].append(now() - started)
                bar.update()
    return {name: Times(tuple(values)) for name, values in seconds.items()}


def waiter(model: nn.Module) -> Callable[[], None]:
    """Returns a function to call before a clock is read, because CUDA calls return early."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return lambda: None


def processor() -> str:
    """The name of this machine's processor, such as "AMD EPYC"."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
