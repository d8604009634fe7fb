"""How big and how fast a model is: parameters, floating point operations, latency; no accuracy."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.evaluation import inference_context
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_WARM_UPS = 2


@dataclass(frozen=True)
class Latency:
    """Seconds that one call with one batch took, over `repeats` timed calls."""

    median: float
    fastest: float
    slowest: float
    repeats: int


def parameters(model: nn.Module) -> int:
    """Count a model's parameters, frozen ones too; a shared one counts once, buffers don't."""
    return sum(parameter.numel() for parameter in model.parameters())


def flops(model: nn.Module, batch: Any) -> int:
    """Count the floating point operations of one call in eval mode, backbone to final boxes.

    A multiply-add is two operations. Matrix products, convolutions and attention are counted;
    pooling, normalisation, RoIAlign and NMS aren't: they are a small part of a detector. A two
    stage detector's number depends on how many regions this very batch proposes.
    """
    counter = FlopCounterMode(display=False)
    with inference_context(model), torch.no_grad(), counter:
        model(batch)
    return counter.get_total_flops()


def latency(model: nn.Module, batch: Any, repeats: int = 20) -> Latency:
    """Time a call in eval mode on the device the model is on, after two untimed calls.

    Raises:
        ValueError: `repeats` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be 1 or more, not {repeats}")
    wait = waiter(model)
    times = []
    with inference_context(model), torch.no_grad():
        for _ in range(_WARM_UPS):
            model(batch)
        for _ in range(repeats):
            wait()
            start = time.perf_counter()
            model(batch)
            wait()
            times.append(time.perf_counter() - start)
    return Latency(statistics.median(times), min(times), max(times), repeats)


def waiter(model: nn.Module) -> Callable[[], None]:
    """Return what to call before reading a clock: CUDA returns before its work is done."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return lambda: None
