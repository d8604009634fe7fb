"""Building a detector as Detectron2 does, laid out for speed and exact under autocast."""

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Mapping

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.modeling.poolers import ROIPooler
from torch import Tensor, nn

from graphkd.errors import UserError
from graphkd.modeling.voting import use_score_voting

# Recent torch says both to every user of Detectron2's main branch, who can do nothing about them.
warnings.filterwarnings("ignore", message="torch.meshgrid: in an upcoming release")
logging.getLogger("torch.fx._symbolic_trace").addFilter(
    lambda record: "is_fx_tracing will" not in record.getMessage()
)
# Meta architecture of a one-stage detector -> the node of MODEL with its classes and thresholds;
# that of all others is ROI_HEADS.
HEAD_NODES = {"RetinaNet": "RETINANET", "GFL": "GFL", "PicoGFL": "GFL"}


def parameters(model: nn.Module) -> int:
    """Number of a model's parameters, frozen ones too; a shared one counts once, buffers don't."""
    return sum(parameter.numel() for parameter in model.parameters())


def is_untrained(state: Mapping[str, Tensor]) -> bool:
    """Whether the heads of a model still hold the values that they were built with.

    Detectors are built with equal biases in every layer of their heads, which no training step
    leaves equal. The backbone is left out: it may hold weights of ImageNet. So is the rectifier of
    readers, whose points start in two rows.
    """
    biases = [
        value
        for name, value in state.items()
        if name.endswith(".bias")
        and not name.startswith(("backbone.", "rectifier."))
        and value.numel() > 1
    ]
    return bool(biases) and all(bool((each == each.flatten()[0]).all()) for each in biases)


def build_network(cfg: CfgNode) -> nn.Module:
    """Detectron2's `build_model` with convolution weights channels-last and exact RoI corners.

    Neither changes names or values. The layout made a training step of the tiny R18 detector 1.2 to
    1.4 times as fast on two CPU cores (none clear for MobileNetV4), and is what tensor cores want.

    Raises:
        UserError: a device that is not there, or TEST.SCORE_VOTING for a two-stage detector.
    """
    require_device(cfg.MODEL.DEVICE)
    model = build_model(cfg).to(memory_format=torch.channels_last)
    if cfg.TEST.get("SCORE_VOTING", False):
        use_score_voting(model)
    for module in model.modules():
        if isinstance(module, ROIPooler):
            module.register_forward_pre_hook(_pool_in_float32)
    return model


def require_device(device: str) -> None:
    """Checks that torch can compute on `device`, a name such as cpu, cuda or cuda:1.

    Raises:
        UserError: no such device in this machine, or no device at all.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError(f"device {device}: this machine has no usable GPU; use cpu") from error
        raise UserError(f"device {device}: not in this machine; use cpu or cuda") from error


def compile_body(model: nn.Module) -> nn.Module:
    """Compiles, at its first call, the body of a reader, or that of a detector, which is the
    backbone below its FPN. Weights and their names stay.

    Raises:
        UserError: a backbone without such a part, or no compiler for a CPU.
    """
    reader = hasattr(model, "body")
    body = model.body if reader else getattr(model.backbone, "bottom_up", None)
    if body is None:
        raise UserError(
            f"DISTILL.TEACHER.COMPILE: {type(model.backbone).__name__} has no part below an FPN; "
            "set it to False"
        )
    # The one that torch looks for, at the first step alone.
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if next(body.parameters()).device.type == "cpu" and shutil.which(compiler) is None:
        raise UserError(
            f"DISTILL.TEACHER.COMPILE: no C++ compiler {compiler}; install one or set it to False"
        )
    body.compile()
    return model


def _pool_in_float32(pooler: nn.Module, args: tuple) -> tuple:
    """Detectron2 casts boxes to the maps' format; bfloat16 would move a corner at 301 px to 300."""
    maps, *rest = args
    return ([features.float() for features in maps], *rest)
