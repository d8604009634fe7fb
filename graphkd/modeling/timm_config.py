"""The config node MODEL.TIMM; nothing is built here."""

from detectron2.config import CfgNode


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
