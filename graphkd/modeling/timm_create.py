"""timm feature extractors: the config node MODEL.TIMM, creating one, changing its norm layers."""

import difflib
import math

import timm
from detectron2.config import CfgNode
from timm.layers import convert_sync_batchnorm, freeze_batch_norm_2d
from torch import nn

from graphkd.errors import UserError

NORMS = ("BN", "FrozenBN", "SyncBN", "GN")


def add_timm_config(cfg: CfgNode) -> None:
    """Adds MODEL.TIMM with its defaults to `cfg`, in place; a `cfg` that has the node keeps it."""
    if "TIMM" in cfg.MODEL:
        return
    cfg.MODEL.TIMM = CfgNode()
    # Any convolutional timm model with features at strides 4, 8, 16 and 32, e.g. "efficientnet_b0";
    # for the ViT pyramid any plain ViT with 16 pixel patches.
    cfg.MODEL.TIMM.NAME = "mobilenetv4_conv_small"
    # True starts from timm's ImageNet weights, downloaded when the model is built.
    cfg.MODEL.TIMM.PRETRAINED = False
    # What every batch norm layer of the timm model becomes: "BN", "FrozenBN", "SyncBN" or "GN".
    cfg.MODEL.TIMM.NORM = "BN"
    # 0 trains everything; 1 freezes the stem, n = 2..5 everything that feeds the feature res{n}.
    # The ViT pyramid knows 0 and 1 (patch and position embeddings).
    cfg.MODEL.TIMM.FREEZE_AT = 0


def create_features(name: str, *, pretrained: bool, **options) -> nn.Module:
    """Returns timm's model `name` as an extractor: image (N, 3, H, W) in, list of feature maps out.

    Args:
        name: timm's name of the model, with or without a weights tag ("resnet18.a1_in1k").
        pretrained: load timm's ImageNet weights (downloaded or from the local cache).
        options: passed on to `timm.create_model`.

    Raises:
        UserError: timm has no such model, or its weights can't be had on this machine.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UserError(f"MODEL.TIMM.NAME: timm {timm.__version__} has no model {name!r}{hint}")
    if not pretrained:
        return timm.create_model(name, pretrained=False, features_only=True, **options)
    try:
        return timm.create_model(name, pretrained=True, features_only=True, **options)
    # Which exceptions a failed download raises depends on the hub client.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"MODEL.TIMM.PRETRAINED: no ImageNet weights of {name!r} ({reason}); go online, or set "
            "MODEL.TIMM.PRETRAINED False to train from scratch"
        ) from error


def convert_norm(module: nn.Module, norm: str) -> nn.Module:
    """Returns `module` with every batch norm layer turned into `norm`; its affine weights are kept.

    Args:
        module: changed in place, except when it is a batch norm layer itself.
        norm: "BN" (nothing changes), "FrozenBN", "SyncBN" or "GN" (32 groups, or the greatest power
            of two below that divides the channels).

    Raises:
        UserError: unknown `norm`, or `module` has no batch norm layer to convert.
    """
    if norm not in NORMS:
        raise UserError(f"MODEL.TIMM.NORM: {norm!r} is not one of {', '.join(NORMS)}")
    if norm == "BN":
        return module
    if not any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()):
        raise UserError(
            f"MODEL.TIMM.NORM: this model has no batch norm to turn into {norm!r}; leave it at 'BN'"
        )
    convert = {
        "FrozenBN": freeze_batch_norm_2d,
        "SyncBN": convert_sync_batchnorm,
        "GN": _batch_to_group_norm,
    }
    return convert[norm](module)


def _batch_to_group_norm(module: nn.Module) -> nn.Module:
    if not isinstance(module, nn.BatchNorm2d):
        for name, child in module.named_children():
            setattr(module, name, _batch_to_group_norm(child))
        return module
    channels = module.num_features
    group_norm = nn.GroupNorm(math.gcd(32, channels), channels, eps=module.eps)
    if module.affine:
        group_norm.load_state_dict({"weight": module.weight, "bias": module.bias})
    # timm's fused layers carry the activation that follows the norm.
    fused = [layer for key in ("drop", "act") if (layer := getattr(module, key, None)) is not None]
    return nn.Sequential(group_norm, *fused) if fused else group_norm
