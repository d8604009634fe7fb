"""Bodies of map detectors, torchvision's MobileNetV3 and ResNet, and the node MODEL.MAPS."""

from collections.abc import Sequence
from functools import partial

import torchvision
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn

from graphkd.errors import UserError

MOBILENETS = ("mobilenet_v3_large", "mobilenet_v3_small")
RESNETS = ("resnet18", "resnet50")
TAPS = {"c2": 4, "c3": 8, "c4": 16, "c5": 32}


def add_map_config(cfg: CfgNode) -> None:
    """Adds MODEL.MAPS, MODEL.DB, MODEL.EAST and TEST.TEXT with their defaults to `cfg`."""
    cfg.MODEL.MAPS = node = CfgNode()
    # One of MOBILENETS and RESNETS; WIDTH multiplies the channels of a MobileNetV3.
    node.BODY = "mobilenet_v3_small"
    node.WIDTH = 0.5
    # Texts with a shorter side below this, in pixels of the training crop, are not trained on.
    node.MIN_TEXT = 6.0
    cfg.MODEL.DB = node = CfgNode()
    # Channels of `fused`; each level of the neck has a quarter of them.
    node.CHANNELS = 96
    # r of the shrunk polygons: one number, or first and last, linear over the training.
    node.SHRINK_RATIO = [0.6]
    # The loss of the text map: bce (hard negatives alone), dice or focal.
    node.TEXT_LOSS = "bce"
    node.W_PROB = 5.0
    node.W_BINARY = 1.0
    node.W_THRESHOLD = 10.0
    cfg.MODEL.EAST = node = CfgNode()
    # Width of the three merges, from stride 16 to stride 4.
    node.CHANNELS = [64, 64, 64]
    # rbox: four distances and an angle; quad: the offsets of four corners.
    node.GEOMETRY = "rbox"
    # dice or balanced (class-balanced cross entropy).
    node.SCORE_LOSS = "dice"
    node.W_SCORE = 0.01
    node.W_ANGLE = 10.0
    # What the geometry loss is divided by: all pixels or those of texts (positives).
    node.GEOMETRY_NORM = "all"
    # How maps become polygons (graphkd/text); calibration replaces BOX_THRESH and UNCLIP_SCALE.
    cfg.TEST.TEXT = node = CfgNode()
    # How scores are counted: icdar, polygon or deteval (graphkd/evaluation/hmean.py).
    node.RULE = "icdar"
    node.THRESH = 0.3
    node.BOX_THRESH = 0.5
    # box (minimum area rectangles) or polygon.
    node.SHAPE = "box"
    # fast: mean score inside the rectangle or polygon; slow: inside the contour.
    node.SCORE = "fast"
    # exact undoes the shrinking; ratio moves the sides by area * UNCLIP_RATIO / perimeter.
    node.UNCLIP = "exact"
    node.UNCLIP_RATIO = 1.5
    node.UNCLIP_SCALE = 1.0
    node.CANDIDATES = 3000
    # Shorter sides, in pixels of the map, before and after unclipping.
    node.MIN_BEFORE = 3.0
    node.MIN_AFTER = 5.0
    # EAST: score of a cell, IoU above which boxes are merged, and the least score of a box.
    node.EAST_THRESH = 0.8
    node.EAST_NMS = 0.2
    node.EAST_BOX_THRESH = 0.1


class MapBody(Backbone):
    """A network as four stages in a row; their outputs are c2 to c5, at strides 4 to 32.

    Args:
        stages: the four parts.
        channels: width of each one's output.
    """

    def __init__(self, stages: Sequence[nn.Module], channels: Sequence[int]):
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = tuple(channels)

    @property
    def size_divisibility(self) -> int:
        """Maps are doubled on the way up, so the coarsest must fit exactly."""
        return TAPS["c5"]

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            name: ShapeSpec(channels=width, stride=stride)
            for (name, stride), width in zip(TAPS.items(), self.channels, strict=True)
        }

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps images (N, 3, H, W) to {tap: (N, C, H / stride, W / stride)}."""
        taps = {}
        for name, stage in zip(TAPS, self.stages, strict=True):
            taps[name] = images = stage(images)
        return taps


def build_map_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> MapBody:
    """The body of MODEL.MAPS, with random weights.

    Raises:
        UserError: an unknown BODY.
    """
    node = cfg.MODEL.MAPS
    if node.BODY in RESNETS:
        return _resnet(node.BODY)
    if node.BODY in MOBILENETS:
        return _mobilenet(node.BODY, width=node.WIDTH)
    raise UserError(
        f"MODEL.MAPS.BODY is {node.BODY}; choose one of {', '.join(MOBILENETS + RESNETS)}"
    )


def _resnet(name: str) -> MapBody:
    net = getattr(torchvision.models, name)(weights=None)
    first = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1)
    rows = (first, net.layer2, net.layer3, net.layer4)
    expansion = net.layer1[0].expansion
    return MapBody(rows, [width * expansion for width in (64, 128, 256, 512)])


def _mobilenet(name: str, *, width: float) -> MapBody:
    # torchvision's momentum of 0.01 suits hundreds of thousands of steps; after a few hundred its
    # running statistics would still hold the first ones.
    norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.1)
    net = getattr(torchvision.models, name)(weights=None, width_mult=width, norm_layer=norm)
    stages: list[list[nn.Module]] = [[]]
    stride = 1
    for block in net.features:
        step = max(m.stride[0] for m in block.modules() if isinstance(m, nn.Conv2d))
        if step > 1 and stride >= TAPS["c2"]:
            stages.append([])
        stride *= step
        stages[-1].append(block)
    widths = [
        [m for m in stage[-1].modules() if isinstance(m, nn.BatchNorm2d)][-1].num_features
        for stage in stages
    ]
    return MapBody([nn.Sequential(*stage) for stage in stages], widths)
