"""The `masket` method: the entropy of the teacher's text map, inside text."""

from torch import Tensor

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.maps import entropy, labels_at, masked_mean, need_text_map, text_pair
from graphkd.distill.losses.options import one_of
from graphkd.distill.outputs import Outputs, Targets


@register("masket")
class MaskET(DistillLoss):
    """Difference of the entropies of both text maps, a mean over the pixels of text.

    Source: MaskET, known to us from a related paper: entropy in bits, masked by the text regions.
    Its distance is not known; the squared error is ours.
    """

    needs = frozenset({"maps"})
    reads = frozenset({"maps"})

    def __init__(self, context: LossContext, *, region: str = "text", distance: str = "mse"):
        """Takes the options.

        Args:
            context: facts about the pair.
            region: text, or all pixels that are trained on.
            distance: mse or l1.
        """
        super().__init__()
        need_text_map(context)
        self.region = one_of("region", region, ("text", "all"))
        self.distance = one_of("distance", distance, ("mse", "l1"))

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `entropy`."""
        own, other, mask = text_pair(student, teacher, targets)
        gap = entropy(own) - entropy(other)
        gap = gap.square() if self.distance == "mse" else gap.abs()
        text = labels_at(targets, mask.shape[-2:])[0] if self.region == "text" else 1
        return {"entropy": masked_mean(gap, mask * text)}
