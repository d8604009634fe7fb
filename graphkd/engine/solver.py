"""The optimizer of a run; schedules are Detectron2's own."""

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_optimizer as detectron2_optimizer
from detectron2.solver.build import (
    get_default_optimizer_params,
    maybe_add_gradient_clipping,
)
from torch import nn

from graphkd.errors import UserError


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Detectron2's SGD, or AdamW with the same parameter groups, over every trainable parameter.

    Args:
        cfg: reads SOLVER; OPTIMIZER is "SGD" or "AdamW".
        model: the student or a Distiller, whose adapters are trained too.

    Raises:
        UserError: another name under SOLVER.OPTIMIZER.
    """
    if cfg.SOLVER.OPTIMIZER == "SGD":
        return detectron2_optimizer(cfg, model)
    if cfg.SOLVER.OPTIMIZER != "AdamW":
        raise UserError(f"SOLVER.OPTIMIZER is {cfg.SOLVER.OPTIMIZER}; known: SGD, AdamW")
    groups = get_default_optimizer_params(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
    )
    adamw = maybe_add_gradient_clipping(cfg, torch.optim.AdamW)
    return adamw(groups, lr=cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY)
