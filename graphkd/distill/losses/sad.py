"""The `sad` method: the attention of every map imitates that of the next deeper one."""

from torch import Tensor, stack

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.heads import tap_names
from graphkd.distill.losses.maps import resized
from graphkd.distill.losses.options import number, one_of
from graphkd.distill.outputs import Outputs, Targets


def attention(maps: Tensor, *, size: tuple[int, int]) -> Tensor:
    """Softmax over places of the squared map summed over channels and brought to `size`: (N, C, h,
    w) to (N, places), float32, a sum of 1 an image.
    """
    strength = maps.float().square().sum(1, keepdim=True)
    return resized(strength, size).flatten(1).softmax(1)


@register("sad")
class SAD(DistillLoss):
    """Squared difference of the attention of neighbouring maps, a sum over places and neighbours
    and a mean over images. The deeper map is a constant. There are no parameters.

    Source: Hou et al., Learning Lightweight Lane Detection CNNs by Self Attention Distillation,
    section 3; the start of the term is from memory.
    """

    needs_teacher = False

    def __init__(self, context: LossContext, *, tap: str = "stages", start: float = 0.5):
        """Takes the options.

        Args:
            context: facts about the student.
            tap: stages (of the body) or levels (of the neck).
            start: share of the training after which the term counts; before it is 0.
        """
        super().__init__()
        self.tap = one_of("tap", tap, ("stages", "levels"))
        self.names = tap_names(context, tap)[::-1]
        if len(self.names) < 2:
            raise ValueError(f"needs two maps or more, found {', '.join(self.names)}")
        self.start = number("start", start, most=1)
        self.needs = frozenset({"stages" if tap == "stages" else "features"})

    def forward(self, student: Outputs, teacher: None, targets: Targets) -> dict[str, Tensor]:
        """Returns `attention`."""
        maps = student.stages if self.tap == "stages" else student.features
        terms = []
        for shallow, deep in zip(self.names, self.names[1:], strict=False):
            size = maps[shallow].shape[-2:]
            gap = attention(maps[shallow], size=size) - attention(maps[deep], size=size).detach()
            terms.append(gap.square().sum(1).mean())
        return {"attention": float(targets.progress >= self.start) * stack(terms).sum()}
