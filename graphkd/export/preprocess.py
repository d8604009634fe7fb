"""Preprocessing inside the exported file: resizing, channel order, normalisation, padding."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Preprocess(nn.Module):
    """Does the same as `PageMapper` and the detector's normalisation, for pages of one size.

    Resizing works on bytes, as in Pillow. On a page of 1600 x 1200 pixels, fewer than 1 of 10,000
    bytes differ from Pillow (by 1), in PyTorch and in ONNX Runtime. Resizing by two matrix products
    is as exact, but eight times slower. It is used for OpenVINO, which ignores the antialiasing of
    ONNX's operator, and whose Pillow mode takes seconds for every new page size. Computing Pillow's
    sums in the graph would be exact in PyTorch, but five times slower than Pillow in ONNX Runtime.

    Args:
        shortest: INPUT.MIN_SIZE_TEST.
        longest: INPUT.MAX_SIZE_TEST.
        flip: whether the detector was trained on BGR.
        mean: (3, 1, 1) in the detector's channel order.
        std: (3, 1, 1).
        divisibility: the sides of the network's input are multiples of this.
        by_products: resize by matrix products, for programs without antialiasing.
    """

    def __init__(
        self,
        *,
        shortest: int,
        longest: int,
        flip: bool,
        mean: Tensor,
        std: Tensor,
        divisibility: int,
        by_products: bool = False,
    ):
        super().__init__()
        self.shortest, self.longest = shortest, longest
        self.flip = flip
        self.divisibility = max(divisibility, 1)
        self.by_products = by_products
        self.register_buffer("mean", mean.clone().float())
        self.register_buffer("std", std.clone().float())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Converts pages (N, H, W, 3) uint8 RGB to the network's input.

        Returns:
            The input (N, 3, h, w) float32, padded below and on the right with zeros; height and
            width of the pages, (2,) int64; and the same after resizing without padding.
        """
        shape = torch._shape_as_tensor(images)
        page = shape[1:3]
        size = test_size(page, shortest=self.shortest, longest=self.longest)
        planes = images.permute(0, 3, 1, 2)
        if self.shortest:
            planes = (resize_by_products if self.by_products else resize)(planes, size)
        planes = planes.float()
        if self.flip:
            planes = planes.flip(1)
        planes = (planes - self.mean) / self.std
        missing = (self.divisibility - size % self.divisibility) % self.divisibility
        below, right = as_sizes(missing)
        return F.pad(planes, [0, right, 0, below]), page, size


def test_size(page: Tensor, *, shortest: int, longest: int) -> Tensor:
    """The size to which Detectron2's `ResizeShortestEdge` resizes a page, computed in float64 as
    there.

    Args:
        page: (2,) int64 height and width in pixels.
        shortest: length of the shorter side; 0 keeps the page's size.
        longest: largest length of the longer side.

    Returns:
        (2,) int64 height and width, at least 1.
    """
    if shortest == 0:
        return page
    sides = page.double()
    least = sides.min()
    # The shorter side is exactly `shortest` and not a product, which rounding could change.
    scaled = torch.where(sides == least, float(shortest), sides * (float(shortest) / least))
    most = scaled.max()
    shrink = torch.where(most > longest, float(longest) / most, torch.ones_like(most))
    return torch.floor(scaled * shrink + 0.5).clamp(min=1).to(torch.int64)


def as_sizes(sizes: Tensor) -> list:
    """Converts sizes (n,) to arguments of a torch function: numbers, or scalars in tracing."""
    if torch.jit.is_tracing():
        return [sizes[index] for index in range(sizes.shape[0])]
    return sizes.tolist()


def resize(planes: Tensor, size: Tensor) -> Tensor:
    """Antialiased bilinear resizing of bytes, as in Pillow.

    Args:
        planes: (N, C, H, W) uint8.
        size: (2,) int64 height and width.
    """
    if torch.onnx.is_in_onnx_export():
        return _Resize.apply(planes, torch.cat([torch._shape_as_tensor(planes)[:2], size]))
    return F.interpolate(planes, size=as_sizes(size), mode="bilinear", antialias=True)


def resize_by_products(planes: Tensor, size: Tensor) -> Tensor:
    """`resize` as two matrix products, each rounded to whole grey levels as in Pillow.

    Args:
        planes: (N, C, H, W) uint8.
        size: (2,) int64 height and width.

    Returns:
        (N, C, height, width) float32, whole numbers in 0..255.
    """
    shape = torch._shape_as_tensor(planes)
    wide = torch.matmul(planes.float(), triangles(shape[3], size[1]).transpose(0, 1))
    return _levels(torch.matmul(triangles(shape[2], size[0]), _levels(wide)))


def triangles(source: Tensor, target: Tensor) -> Tensor:
    """The weights with which a line of `source` pixels is resized to `target` pixels.

    Args:
        source: () int64.
        target: () int64.

    Returns:
        (target, source) float32; rows sum to 1.
    """
    scale = source.float() / target.float()
    reach = scale.clamp(min=1.0)
    centres = (torch.arange(target).float() + 0.5) * scale
    pixels = torch.arange(source).float() + 0.5
    weights = (1.0 - (pixels[None] - centres[:, None]).abs() / reach).clamp(min=0.0)
    return weights / weights.sum(1, keepdim=True)


def _levels(values: Tensor) -> Tensor:
    return torch.floor(values + 0.5).clamp(0.0, 255.0)


class _Resize(torch.autograd.Function):
    """`resize` as ONNX's operator; PyTorch's exporter does not support the antialiased one."""

    @staticmethod
    def forward(ctx, planes, sizes):
        return F.interpolate(planes, size=sizes[2:].tolist(), mode="bilinear", antialias=True)

    @staticmethod
    def symbolic(g, planes, sizes):
        none = g.op("Constant", value_t=torch.zeros(0))
        # Weights outside the page are left out, as in Pillow; the default repeats border pixels.
        return g.op(
            "Resize",
            planes,
            none,
            none,
            sizes,
            antialias_i=1,
            coordinate_transformation_mode_s="half_pixel",
            exclude_outside_i=1,
            mode_s="linear",
        ).setType(planes.type().with_sizes([None, 3, None, None]))
