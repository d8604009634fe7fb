"""Which number format a training step computes in; the formats of losses and graphs are their
own.
"""

import torch
from detectron2.config import CfgNode

from graphkd.errors import UserError

FORMATS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast_format(cfg: CfgNode, device: torch.device) -> torch.dtype | None:
    """The autocast format of a run; None for float32 throughout.

    Args:
        cfg: reads SOLVER.AMP; DTYPE `native` means bfloat16 where the hardware computes in it, and
            float32 elsewhere, since emulated bfloat16 is slower than float32.
        device: where the run computes.

    Raises:
        UserError: another name, or float16 on a CPU.
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
