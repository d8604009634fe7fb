"""The `sd` method: early exits of the student learn from its last one."""

from torch import Tensor, nn, stack
from torch.nn import functional as F

from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import bernoulli_kl
from graphkd.distill.losses.heads import START_BIAS, tap_names
from graphkd.distill.losses.maps import labels_at, masked_mean, need_text_map, resized
from graphkd.distill.losses.options import number
from graphkd.distill.outputs import Outputs, Targets


@register("sd")
class SelfDistillation(DistillLoss):
    """Exits on all levels but the finest learn the ground truth, the model's own text map and its
    fused features: `(1 - alpha) truth + alpha T^2 KL + beta squared error`, summed over exits.

    Source: Zhang et al., Be Your Own Teacher, section 3, with the factors of a re-implementation.
    The exits' structure is ours. The last exit is the model's own head, which its own loss trains.
    """

    needs = frozenset({"features", "maps"})
    reads = frozenset({"maps"})
    needs_teacher = False

    def __init__(
        self,
        context: LossContext,
        *,
        alpha: float = 0.1,
        temperature: float = 3.0,
        beta: float = 1e-6,
    ):
        """Makes the exits.

        Args:
            context: facts about the student.
            alpha: share of the model's own map beside the ground truth, 0..1.
            temperature: T of the softened maps.
            beta: factor of the features.
        """
        super().__init__()
        need_text_map(context)
        if "fused" not in context.channels:
            raise ValueError("needs the fused map of a text detector")
        self.alpha, self.beta = number("alpha", alpha, most=1), number("beta", beta)
        self.temperature = number("temperature", temperature, positive=True)
        width = context.channels["fused"][0]
        self.necks, self.exits = nn.ModuleDict(), nn.ModuleDict()
        for name in tap_names(context, "levels")[:-1]:
            convolution = nn.Conv2d(context.channels[name][0], width, 3, padding=1, bias=False)
            self.necks[name] = nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())
            self.exits[name] = nn.Conv2d(width, 1, 1)
            nn.init.constant_(self.exits[name].bias, START_BIAS)
        self.text_loss = context.text_loss

    def forward(self, student: Outputs, teacher: None, targets: Targets) -> dict[str, Tensor]:
        """Returns `truth`, `map` and `features`."""
        final = student.maps["text"].detach().float()
        fused = student.features["fused"].detach().float()
        labels, mask = labels_at(targets, final.shape[-2:])
        truth, divergences, errors = [], [], []
        for name, neck in self.necks.items():
            features = resized(neck(student.features[name].float()).float(), fused.shape[-2:])
            logits = resized(self.exits[name](features).float(), final.shape[-2:])
            truth.append(self.text_loss(logits, labels, mask))
            divergence = bernoulli_kl(logits, final, temperature=self.temperature)
            divergences.append(masked_mean(divergence, mask))
            errors.append(F.mse_loss(features, fused))
        return {
            "truth": (1 - self.alpha) * stack(truth).sum(),
            "map": self.alpha * stack(divergences).sum(),
            "features": self.beta * stack(errors).sum(),
        }
