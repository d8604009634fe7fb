"""The `ka` method: knowledge adaptation, the code of the teacher's fused map and its affinities."""

from torch import Tensor, nn
from torch.nn import functional as F

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import crop_to_common
from graphkd.distill.losses.options import number, whole_number
from graphkd.distill.losses.skd import similarities
from graphkd.distill.outputs import Outputs, Targets


def code_distance(student_code: Tensor, teacher_code: Tensor) -> Tensor:
    """Distance of two codes (N, C, h, w) whose channels have length 1 each, a mean over channels
    and images; 0..2.
    """
    pair = (F.normalize(each.flatten(2), dim=2, eps=1e-6) for each in (student_code, teacher_code))
    student, teacher = pair
    # The square root has no finite gradient at 0.
    return ((student - teacher).square().sum(2) + 1e-12).sqrt().mean()


@register("ka")
class KnowledgeAdaptation(DistillLoss):
    """An auto-encoder compresses the teacher's fused map; the student's adapted map imitates its
    code, and the affinities between the places of the code.

    Source: He et al., Knowledge Adaptation for Efficient Semantic Segmentation, section 3, from
    memory. Differs from the paper: the auto-encoder is trained together with the student in place
    of before it, and the affinities are those of a fixed grid.
    """

    needs = frozenset({"features"})

    def __init__(
        self,
        context: LossContext,
        *,
        adapt: float = 50.0,
        affinity: float = 1.0,
        sparsity: float = 1e-7,
        grid: int = 16,
    ):
        """Makes auto-encoder and adapter.

        Args:
            context: facts about the pair.
            adapt: factor of the distance of the codes.
            affinity: factor of the affinities.
            sparsity: factor of the absolute value of the code.
            grid: rows and columns of the grid of the affinities.
        """
        super().__init__()
        if "fused" not in context.channels:
            raise ValueError("needs a fused map in both models")
        student, teacher = context.channels["fused"]
        code = max(teacher // 2, 1)
        self.encoder = nn.Conv2d(teacher, code, 3, stride=2, padding=1)
        self.decoder = nn.ConvTranspose2d(code, teacher, 2, 2)
        self.adapter = nn.Conv2d(student, code, 3, stride=2, padding=1)
        self.factors = number("adapt", adapt), number("affinity", affinity)
        self.sparsity = number("sparsity", sparsity)
        self.grid = whole_number("grid", grid, least=2)

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `reconstruction`, which trains the auto-encoder alone, `adapt` and `affinity`."""
        maps = student.features["fused"].float(), teacher.features["fused"].detach().float()
        own, other = crop_to_common(*maps)
        code = self.encoder(other).float()
        error = F.mse_loss(*crop_to_common(self.decoder(code).float(), other))
        adapted, wanted = self.adapter(own).float(), code.detach()
        affinities = (similarities(each, grid=self.grid) for each in (adapted, wanted))
        return {
            "reconstruction": error + self.sparsity * code.abs().sum((1, 2, 3)).mean(),
            "adapt": self.factors[0] * code_distance(adapted, wanted),
            "affinity": self.factors[1] * F.mse_loss(*affinities),
        }
