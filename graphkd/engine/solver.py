"""Optimizer and number format of a run, and checks of its schedule."""

import itertools
from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_optimizer as detectron2_optimizer
from detectron2.solver.build import (
    get_default_optimizer_params,
    maybe_add_gradient_clipping,
)
from torch import nn

from graphkd.errors import UserError
from graphkd.modeling.network import require_device

# Adam adds the decay to the gradient, AdamW takes it off the weights.
ADAMS = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}
OPTIMIZERS = ("SGD", *ADAMS)
FORMATS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
# Detectron2 itself would notice a wrong name only after the model is built.
SCHEDULES = ("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR")


def check_settings(cfg: CfgNode) -> None:
    """Checks device, number format, optimizer and schedule before a run starts.

    Raises:
        UserError: one of them is unknown or not available on this machine, or a count is below 1.
    """
    require_device(cfg.MODEL.DEVICE)
    autocast_format(cfg, torch.device(cfg.MODEL.DEVICE))
    for name, known in (("OPTIMIZER", OPTIMIZERS), ("LR_SCHEDULER_NAME", SCHEDULES)):
        if cfg.SOLVER[name] not in known:
            raise UserError(f"SOLVER.{name} is {cfg.SOLVER[name]}; known: {', '.join(known)}")
    counts = {
        f"SOLVER.{k}": cfg.SOLVER[k] for k in ("MAX_ITER", "IMS_PER_BATCH", "CHECKPOINT_PERIOD")
    }
    for key, value in {**counts, "LOG_PERIOD": cfg.LOG_PERIOD}.items():
        if value < 1:
            raise UserError(f"{key} is {value}; it must be 1 or more")
    if cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        _check_steps(cfg.SOLVER.STEPS, cfg.SOLVER.MAX_ITER)


def _check_steps(steps: Sequence[int], end: int) -> None:
    """Detectron2 ignores steps after the end of training, but fails on one exactly at the end."""
    if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
        raise UserError(f"SOLVER.STEPS {tuple(steps)}: give them in increasing order, each once")
    if end in steps:
        raise UserError(
            f"SOLVER.STEPS {tuple(steps)}: step {end} is the end of training (SOLVER.MAX_ITER); "
            "leave it out"
        )


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Detectron2's SGD, or one of `ADAMS` with the same groups, over every trainable parameter.

    Args:
        cfg: a config that `check_settings` accepted; reads SOLVER.
        model: the student, or a Distiller with its adapters.
    """
    if cfg.SOLVER.OPTIMIZER == "SGD":
        return detectron2_optimizer(cfg, model)
    groups = get_default_optimizer_params(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
    )
    adam = maybe_add_gradient_clipping(cfg, ADAMS[cfg.SOLVER.OPTIMIZER])
    return adam(groups, lr=cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY)


def autocast_format(cfg: CfgNode, device: torch.device) -> torch.dtype | None:
    """The autocast format of a run; None for float32 throughout.

    Args:
        cfg: reads SOLVER.AMP. DTYPE `native` means bfloat16 if the hardware supports it, else
            float32, since emulated bfloat16 is slower than float32.
        device: the device of the run.

    Raises:
        UserError: an unknown format, or float16 on a CPU.
    """
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    name = cfg.SOLVER.AMP.DTYPE
    if name == "native":
        return torch.bfloat16 if has_native_bfloat16(device) else None
    if name not in FORMATS:
        known = ", ".join([*FORMATS, "native"])
        raise UserError(f"SOLVER.AMP.DTYPE is {name}; known: {known}")
    if name == "float16" and device.type == "cpu":
        raise UserError("SOLVER.AMP.DTYPE float16 needs a GPU; use bfloat16 or native on a CPU")
    return FORMATS[name]


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; False where torch cannot tell."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
