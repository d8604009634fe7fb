"""Layers of line readers: activations, attention over channels, and pooling before the frames."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Number of channels -> the activation of a layer with so many.
Activation = Callable[[int], nn.Module]
# Released readers have 0.2, torchvision's MobileNetV3 has 1/6.
SIGMOID_SLOPE = 0.2


def relu(channels: int) -> nn.Module:
    """ReLU, as an `Activation`."""
    return nn.ReLU(inplace=True)


def hardswish(channels: int) -> nn.Module:
    """Hard swish, as an `Activation`."""
    return nn.Hardswish(inplace=True)


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    *,
    stride: int | tuple[int, int] = 1,
    groups: int = 1,
    activation: Activation | None = None,
) -> nn.Sequential:
    """A convolution without bias that keeps the size at stride 1, batch norm and an activation."""
    kind = nn.Conv2d if groups == 1 else DepthwiseConv
    conv = kind(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    layers = [conv, nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([activation(outputs)] if activation else []))


class DepthwiseConv(nn.Conv2d):
    """A convolution within channels, in float32 on CPUs.

    Its backward pass in bfloat16 took 2 to 4 times as long there as in float32, channels-last.
    """

    def forward(self, features: Tensor) -> Tensor:
        """As that of `nn.Conv2d`."""
        if features.device.type != "cpu":
            return super().forward(features)
        with torch.autocast("cpu", enabled=False):
            return super().forward(features.float())


class SqueezeExcitation(nn.Module):
    """Multiplies each channel by a weight in 0..1 that depends on the means of all channels.

    Args:
        channels: of the input.
        squeezed: width between the two 1x1 convolutions.
        slope: of the hard sigmoid, clamp(slope * x + 0.5).
    """

    def __init__(self, channels: int, squeezed: int, *, slope: float = SIGMOID_SLOPE):
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.slope = slope

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        means = features.mean((2, 3), keepdim=True)
        weights = self.expand(F.relu(self.reduce(means)))
        return features * (self.slope * weights + 0.5).clamp(0.0, 1.0)


class CoordinateAttention(nn.Module):
    """Multiplies each cell by a weight of its row and one of its column.

    Source: Hou et al., Coordinate Attention for Efficient Mobile Network Design (2021).
    """

    def __init__(self, channels: int):
        super().__init__()
        squeezed = max(8, channels // 32)
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1), nn.BatchNorm2d(squeezed), nn.Hardswish()
        )
        self.rows = nn.Conv2d(squeezed, channels, 1)
        self.columns = nn.Conv2d(squeezed, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        height, width = features.shape[-2:]
        along = features.mean(3, keepdim=True)
        down = features.mean(2, keepdim=True).transpose(2, 3)
        joined = self.reduce(torch.cat([along, down], dim=2))
        rows, columns = joined.split([height, width], dim=2)
        weights = self.rows(rows).sigmoid() * self.columns(columns.transpose(2, 3)).sigmoid()
        return features * weights


class MetaACON(nn.Module):
    """(p1 - p2) x sigmoid(b (p1 - p2) x) + p2 x, where b depends on the means of all channels.

    Source: Ma et al., Activate or Not: Learning Customized Activation (2021).
    """

    def __init__(self, channels: int):
        super().__init__()
        squeezed = max(16, channels // 16)
        self.p1 = nn.Parameter(torch.randn(1, channels, 1, 1))
        self.p2 = nn.Parameter(torch.randn(1, channels, 1, 1))
        self.switch = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1),
            nn.BatchNorm2d(squeezed),
            nn.Conv2d(squeezed, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        switch = self.switch(features.mean((2, 3), keepdim=True)).sigmoid()
        scaled = (self.p1 - self.p2) * features
        return scaled * (switch * scaled).sigmoid() + self.p2 * features


class FinalPool(nn.Module):
    """Halves the width by a maximum over 2x2 cells, or over 1x2 where the map is one cell high."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, max(1, H // 2), W / 2)."""
        return F.max_pool2d(features, (min(2, int(features.shape[-2])), 2))


class BlurPool(nn.Module):
    """`FinalPool` without aliasing: the maximum at stride 1, then a binomial filter at stride 2.

    Source: Zhang, Making Convolutional Networks Shift-Invariant Again (2019), equations 2 and 3.
    """

    def __init__(self):
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", taps[:, None] * taps, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, max(1, H // 2), W / 2)."""
        maxima = F.max_pool2d(features, (min(2, int(features.shape[-2])), 2), stride=1)
        channels = int(features.shape[1])  # a constant of exported graphs
        kernel = self.kernel.to(maxima.dtype).expand(channels, 1, 4, 4)
        padded = F.pad(maxima, (1, 2, 1, 2), mode="replicate")
        return F.conv2d(padded, kernel, stride=2, groups=channels)


POOLS = {"max": FinalPool, "blur": BlurPool}
