"""Bodies of line readers: MobileNetV3 and ResNet18 that shrink lines more in height than in width.

Their input is (N, 3, H, W), their output half as wide at every tap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from graphkd.errors import UserError
from graphkd.modeling.line.layers import (
    SIGMOID_SLOPE,
    Activation,
    CoordinateAttention,
    MetaACON,
    SqueezeExcitation,
    conv_norm,
    hardswish,
    relu,
)

# A row a block: kernel, expanded and output channels, attention, hard swish in place of ReLU.
_SMALL = (
    *((3, 16, 16, True, False), (3, 72, 24, False, False), (3, 88, 24, False, False)),
    *((5, 96, 40, True, True), (5, 240, 40, True, True), (5, 240, 40, True, True)),
    *((5, 120, 48, True, True), (5, 144, 48, True, True)),
    *((5, 288, 96, True, True), (5, 576, 96, True, True), (5, 576, 96, True, True)),
)
_LARGE = (
    *((3, 16, 16, False, False), (3, 64, 24, False, False), (3, 72, 24, False, False)),
    *((5, 72, 40, True, False), (5, 120, 40, True, False), (5, 120, 40, True, False)),
    *((3, 240, 80, False, True), (3, 200, 80, False, True)),
    *((3, 184, 80, False, True), (3, 184, 80, False, True)),
    *((3, 480, 112, True, True), (3, 672, 112, True, True)),
    *((5, 672, 160, True, True), (5, 960, 160, True, True), (5, 960, 160, True, True)),
)
# Name -> rows, blocks that halve the height, width of the last convolution.
MOBILENETS = {
    "mobilenet_v3_small": (_SMALL, (0, 1, 3, 8), 576),
    "mobilenet_v3_large": (_LARGE, (1, 3, 12), 960),
}
RESNETS = ("resnet18", "resnet18_se")
_STEM, _STAGES = (32, 32, 64), (64, 128, 256, 512)
TAPS = ("c3", "c4", "c5")


@dataclass(frozen=True)
class BodyOptions:
    """How a body is built; the keys of MODEL.READER with these names.

    Attributes:
        neck: none or the kind of pyramid, A to D.
        width: factor on all channels of a MobileNetV3.
        attention: se, ca (coordinate attention) or none, where the tables have attention.
        acon: Meta-ACON in place of every activation.
        acon_skips_strides: blocks that halve the height keep their own activation.
        slope: of the hard sigmoid in squeeze and excitation.
        stem, stages, inner: channels of a pruned net; empty for the original ones. `inner` are the
            first convolutions of ResNet's blocks, or the expanded channels of MobileNetV3's.
        first_shortcut: False leaves out the shortcut of small's block 0 below a pyramid.
        dead_blocks: builds the blocks after the last tap of pyramid A too, whose outputs nothing
            reads.
    """

    neck: str = "none"
    width: float = 1.0
    attention: str = "se"
    acon: bool = False
    acon_skips_strides: bool = False
    slope: float = SIGMOID_SLOPE
    stem: Sequence[int] = ()
    stages: Sequence[int] = ()
    inner: Sequence[int] = ()
    first_shortcut: bool = True
    dead_blocks: bool = False


class LineBody(nn.Module):
    """A stem and a row of blocks, some of which are tapped.

    Attributes:
        taps: number of a block -> name of its tap.
        channels: name of a tap -> its channels; c3, c4, c5 for pyramids, else c5 alone.
        out_channels: channels that a neck gives.
        final: the activation of the neck's last convolution; None for a body that has no such
            convolution without a pyramid.
    """

    def __init__(
        self,
        stem: nn.Module,
        blocks: Sequence[nn.Module],
        *,
        taps: Mapping[str, int],
        channels: Sequence[int],
        out_channels: int,
        final: Activation | None,
    ):
        """`taps` names numbers of blocks, `channels` are those of every block's output."""
        super().__init__()
        self.stem, self.blocks = stem, nn.ModuleList(blocks)
        self.taps = {index: name for name, index in taps.items()}
        self.channels = {name: channels[index] for name, index in taps.items()}
        self.out_channels, self.final = out_channels, final

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to {tap: (N, C, h, W / 2)}."""
        features, found = self.stem(images), {}
        for index, block in enumerate(self.blocks):
            features = block(features)
            if index in self.taps:
                found[self.taps[index]] = features
        return found


class InvertedResidual(nn.Module):
    """MobileNetV3's block: expand, depthwise, attention, project; a shortcut where shapes agree."""

    def __init__(
        self,
        inputs: int,
        expanded: int,
        outputs: int,
        kernel: int,
        *,
        stride: tuple[int, int],
        attention: nn.Module | None,
        activation: Activation,
        shortcut: bool = True,
    ):
        super().__init__()
        layers = [
            conv_norm(inputs, expanded, activation=activation),
            conv_norm(
                expanded, expanded, kernel, stride=stride, groups=expanded, activation=activation
            ),
            *([attention] if attention is not None else []),
            conv_norm(expanded, outputs),
        ]
        self.layers = nn.Sequential(*layers)
        self.shortcut = shortcut and stride == (1, 1) and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W)."""
        changed = self.layers(features)
        return features + changed if self.shortcut else changed


class BasicBlock(nn.Module):
    """ResNet-D's block of two 3x3 convolutions: its shortcut averages before it projects.

    Source: He et al., Bag of Tricks for Image Classification (2019), figure 2c.
    """

    def __init__(
        self,
        inputs: int,
        inner: int,
        outputs: int,
        *,
        stride: tuple[int, int],
        project: bool,
        attention: nn.Module | None,
        activation: Activation,
    ):
        super().__init__()
        self.first = conv_norm(inputs, inner, 3, stride=stride, activation=activation)
        self.second = conv_norm(inner, outputs, 3)
        self.attention = attention if attention is not None else nn.Identity()
        self.pooled, self.project = stride, conv_norm(inputs, outputs) if project else None
        self.activation = activation(outputs)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W)."""
        changed = self.attention(self.second(self.first(features)))
        if self.project is not None:
            if self.pooled != (1, 1):
                features = F.avg_pool2d(features, self.pooled)
            features = self.project(features)
        return self.activation(features + changed)


def line_body(name: str, options: BodyOptions) -> LineBody:
    """The body of a name, with random weights.

    Raises:
        UserError: an unknown name, attention or number of channels.
    """
    if name in MOBILENETS:
        return _mobilenet(name, options)
    if name in RESNETS:
        return _resnet(name, options)
    known = ", ".join((*MOBILENETS, *RESNETS))
    raise UserError(f"MODEL.READER.BODY is {name}; choose one of {known}")


def rounded(channels: float) -> int:
    """The multiple of 8 next to a number of channels, at most a tenth below it, 8 or more."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def _attention(channels: int, squeezed: int, options: BodyOptions) -> nn.Module | None:
    if options.attention == "se":
        return SqueezeExcitation(channels, squeezed, slope=options.slope)
    if options.attention == "ca":
        return CoordinateAttention(channels)
    if options.attention == "none":
        return None
    raise UserError(f"MODEL.READER.ATTENTION is {options.attention}; choose se, ca or none")


def _channels(key: str, given: Sequence[int], original: Sequence[int]) -> tuple[int, ...]:
    if len(given) not in (0, len(original)) or any(value < 1 for value in given):
        raise UserError(
            f"MODEL.READER.{key} is {list(given)}; give {len(original)} numbers of channels, or "
            "none for the original net"
        )
    return tuple(given or original)


def _mobilenet(name: str, options: BodyOptions) -> LineBody:
    rows, halving, last = MOBILENETS[name]
    pyramid = options.neck != "none"
    if pyramid:
        # Pyramids need levels 8, 4 and 2 cells high, which the plain small net has not.
        halving = tuple(index for index in halving if index)
    scale = partial(_scaled, options.width)
    (channels,) = _channels("STEM", options.stem, (scale(16),))
    inner = _channels("INNER", options.inner, [scale(row[1]) for row in rows])
    if options.stages:
        raise UserError("MODEL.READER.STAGES is for ResNet18; a MobileNetV3 has INNER and STEM")
    own = MetaACON if options.acon else None
    stem = conv_norm(3, channels, 3, stride=2, activation=own or hardswish)
    ends = [index - 1 for index in halving[-2:]] + [len(rows) - 1]
    taps = halving[-3:] if options.neck == "A" else ends
    if not pyramid:
        taps = ends[-1:]
    blocks, outputs = [], []
    live = len(rows) if options.dead_blocks else max(taps) + 1
    for index, (kernel, expanded, output, attended, swish) in enumerate(rows[:live]):
        stride = (2, 1) if index in halving else (1, 1)
        plain = own is None or (options.acon_skips_strides and stride != (1, 1))
        squeezed = scale(expanded) // 4  # stays as it is in a pruned net
        blocks.append(
            InvertedResidual(
                channels,
                inner[index],
                scale(output),
                kernel,
                stride=stride,
                attention=_attention(inner[index], squeezed, options) if attended else None,
                activation=(hardswish if swish else relu) if plain else own,
                shortcut=options.first_shortcut or not pyramid or index > 0,
            )
        )
        channels = scale(output)
        outputs.append(channels)
    names = TAPS[-len(taps) :]
    return LineBody(
        stem,
        blocks,
        taps=dict(zip(names, taps, strict=True)),
        channels=outputs,
        out_channels=scale(last),
        final=own or hardswish,
    )


def _scaled(width: float, channels: int) -> int:
    return rounded(width * channels)


def _resnet(name: str, options: BodyOptions) -> LineBody:
    stem_channels = _channels("STEM", options.stem, _STEM)
    stages = _channels("STAGES", options.stages, _STAGES)
    inner = _channels("INNER", options.inner, [width for width in _STAGES for _ in range(2)])
    own = MetaACON if options.acon else relu
    layers, channels = [], 3
    for width in stem_channels:
        layers.append(conv_norm(channels, width, 3, activation=own))
        channels = width
    stem = nn.Sequential(*layers, nn.MaxPool2d(3, 2, padding=1))
    blocks, outputs = [], []
    last_taps = {"none": (7,), "A": (2, 4, 6)}.get(options.neck, (3, 5, 7))
    live = 8 if options.dead_blocks else max(last_taps) + 1
    for index in range(live):
        stage, first = index // 2, index % 2 == 0
        stride = (2, 1) if first and stage else (1, 1)
        attended = name == "resnet18_se"
        blocks.append(
            BasicBlock(
                channels,
                inner[index],
                stages[stage],
                stride=stride,
                project=first,
                attention=_attention(stages[stage], _STAGES[stage] // 4, options)
                if attended
                else None,
                activation=relu if options.acon_skips_strides and stride != (1, 1) else own,
            )
        )
        channels = stages[stage]
        outputs.append(channels)
    return LineBody(
        stem,
        blocks,
        taps=dict(zip(TAPS[-len(last_taps) :], last_taps, strict=True)),
        channels=outputs,
        out_channels=stages[3],
        final=None if options.neck == "none" else hardswish,
    )
