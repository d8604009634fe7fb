"""The `skd` method: structured distillation of text maps, pixel by pixel and pair by pair."""

from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import bernoulli_kl, crop_to_common
from graphkd.distill.losses.maps import masked_mean, need_text_map, text_pair
from graphkd.distill.losses.options import number, whole_number
from graphkd.distill.outputs import Outputs, Targets


def similarities(maps: Tensor, *, grid: int) -> Tensor:
    """Cosine similarity of all pairs of places of a map.

    Args:
        maps: (N, C, h, w).
        grid: the map is averaged to at most this many rows and columns, because the number of pairs
            grows with the fourth power.

    Returns:
        (N, P, P) float32 for P places.
    """
    size = min(maps.shape[-2], grid), min(maps.shape[-1], grid)
    places = F.adaptive_avg_pool2d(maps.float(), size).flatten(2)
    places = F.normalize(places, dim=1, eps=1e-6)
    return places.transpose(1, 2) @ places


@register("skd")
class SKD(DistillLoss):
    """KL of the text maps, and the squared difference of the similarities between places of the
    fused maps, a mean over pairs.

    Source: Liu et al., Structured Knowledge Distillation for Dense Prediction, equations 1 to 3.
    Differs from the paper: no adversarial term, and the pairs are those of a fixed grid.
    """

    needs = frozenset({"features", "maps"})
    reads = frozenset({"maps"})

    def __init__(
        self, context: LossContext, *, pixel: float = 10.0, pair: float = 1.0, grid: int = 16
    ):
        """Takes the options.

        Args:
            context: facts about the pair.
            pixel: factor of the pixel term.
            pair: factor of the pair term.
            grid: rows and columns of the grid whose places are compared.
        """
        super().__init__()
        need_text_map(context)
        if "fused" not in context.channels:
            raise ValueError("needs a fused map in both models")
        self.pixel, self.pair = number("pixel", pixel), number("pair", pair)
        self.grid = whole_number("grid", grid, least=2)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `pixel` and `pair`."""
        own, other, mask = text_pair(student, teacher, targets)
        pixel = masked_mean(bernoulli_kl(own, other, temperature=1.0), mask)
        maps = crop_to_common(student.features["fused"], teacher.features["fused"].detach())
        own, other = (similarities(each, grid=self.grid) for each in maps)
        return {"pixel": self.pixel * pixel, "pair": self.pair * F.mse_loss(own, other)}
