"""The `dsig` method: Deep Structured Instance Graph, the parent of GraphKD.

Source: Chen, Chen, Zhao et al., Deep Structured Instance Graph for Distilling Object Detectors,
ICCV 2021, and its released code [code]: flattened RoI features of foreground and of background that
the teacher finds hard, their cosines as edges, the weights below.
`Differs from the release:` graph terms are means over images times the two images a device has
there, over which the release sums: its scale at any batch size. The box term is a mean over
foreground regions and the four deltas, where the release sums and divides by all regions: the same
at the usual quarter of foreground [ours].
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.comm import count_per_process
from graphkd.distill.graph.distance import masked_mean
from graphkd.distill.graph.edges import cosine_affinity
from graphkd.distill.graph.nodes import match_size
from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import sum_of_images
from graphkd.distill.losses.levels import level_adapters, level_pairs, region_adapter
from graphkd.distill.losses.logits import region_terms
from graphkd.distill.losses.options import (
    need_regions,
    need_same_box_codes,
    need_same_classes,
    need_two_stage,
    number,
    switch,
    whole_number,
)
from graphkd.distill.losses.teacher_graph import sample_nodes, take
from graphkd.distill.outputs import Outputs, Regions, Targets

IMAGES_A_DEVICE = 2


def image_node_terms(squares: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """Unweighted foreground and background node terms of one image.

    Both are means of the (R,) mean squared differences of its regions, the second one times
    foreground over background regions; 0 where either is missing.
    """
    share = (~background).sum() / background.sum().clamp(min=1)
    return masked_mean(squares, ~background), share * masked_mean(squares, background)


def image_edge_term(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared difference of all (n, n) cosines of one image, of the flattened RoI
    features (n, Ds) and (n, Dt) of the nodes that have edges.
    """
    return F.mse_loss(cosine_affinity(student), cosine_affinity(teacher)) / 2


@register("dsig")
class DSIG(DistillLoss):
    """Imitates foreground and background nodes and edges, on request the heads' outputs.

    All sampled background regions are nodes; only those that the teacher finds hard have edges.
    """

    needs = frozenset({"region_features", "region_predictions"})

    def __init__(
        self,
        context: LossContext,
        *,
        foreground_weight: float = 0.5,
        background_weight: float = 0.5,
        alpha: float = 7.5,
        background_ce: float = 0.6,
        max_background: int = 512,
        edge_weight: float = 1.0,
        feature_weight: float = 0.0,
        class_weight: float = 0.0,
        mean_over_classes: bool = True,
        box_weight: float = 0.0,
        temperature: float = 1.0,
    ):
        """Takes the options; the release's weights of its large students are the defaults.

        Args:
            context: facts about the pair.
            foreground_weight: of the foreground node term.
            background_weight: of the background node term, times alpha * foreground / background
                regions.
            alpha: see background_weight.
            background_ce: the teacher's cross entropy from which background is hard.
            max_background: background nodes with edges an image, at most; 0 for none. The release
                has no limit, and 512 is all that Detectron2 samples.
            edge_weight: of the edge term; 2 in the release for small students.
            feature_weight: of the FPN term; 0.5 in the release for small students.
            class_weight: of the class term; 3 in the release for small students.
            mean_over_classes: whether the class term is a mean over the K + 1 classes too, as in
                the release; False for a KL a region, which weighs K + 1 times as much (ours).
            box_weight: of the box term; 1 in the release for small students.
            temperature: of the class term.

        Raises:
            ValueError: an option has no such value, no detector, or class or box terms with
            one-stage detectors or different class lists.
        """
        super().__init__()
        need_regions(context)
        self.weights = {
            "foreground": number("foreground_weight", foreground_weight),
            "background": number("background_weight", background_weight) * number("alpha", alpha),
            "edges": number("edge_weight", edge_weight),
            "features": number("feature_weight", feature_weight),
            "classes": number("class_weight", class_weight),
            "boxes": number("box_weight", box_weight),
        }
        self.sampling = {
            "max_background": whole_number("max_background", max_background, least=0),
            "background_ce": number("background_ce", background_ce),
        }
        # F.kl_div without a reduction, as the release calls it, divides by regions times classes
        mean = switch("mean_over_classes", mean_over_classes)
        self.classes_divisor = context.num_classes + 1 if mean else 1
        self.temperature = number("temperature", temperature, positive=True)
        predictions = self.weights["classes"] > 0 or self.weights["boxes"] > 0
        if predictions:
            remedy = "set CLASS_WEIGHT and BOX_WEIGHT to 0"
            need_two_stage(context, remedy=f"{remedy}; `logits` compares one-stage heads")
            need_same_classes(context, remedy=remedy)
        if self.weights["boxes"] > 0:
            need_same_box_codes(context, remedy="set BOX_WEIGHT to 0")
        needs = {"region_features"}
        if predictions or self.sampling["max_background"] > 0:
            needs.add("region_predictions")
        self.levels = None
        if self.weights["features"] > 0:
            needs.add("features")
            self.levels = level_adapters(context, kernel=1)
        self.needs = frozenset(needs)
        self.adapter = region_adapter(*context.width())
        self.log: dict[str, Tensor] = {}

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns `foreground`, `background`, `edges`, and `features`, `classes`, `boxes` where
        their weight is not 0.

        Graph terms are `IMAGES_A_DEVICE` times means over the images that have a region.
        """
        with torch.autocast(student.regions.features.device.type, enabled=False):
            terms = self._graph_terms(student.regions, teacher.regions, targets)
            if self.levels is not None:
                terms["features"] = self._feature_term(student, teacher, targets)
            if self.weights["classes"] > 0 or self.weights["boxes"] > 0:
                classes, boxes = region_terms(
                    student.regions, teacher.regions, targets, temperature=self.temperature
                )
                terms |= {"classes": classes / self.classes_divisor, "boxes": boxes}
        return {name: self.weights[name] * term for name, term in terms.items()}

    def _graph_terms(
        self, student: Regions, teacher: Regions, targets: Targets
    ) -> dict[str, Tensor]:
        linked = sample_nodes(teacher, targets, **self.sampling)
        features, constant = match_size(student.features.float(), teacher.features.detach().float())
        adapted = self.adapter(features)
        background = targets.region_labels == targets.num_classes
        squares = F.mse_loss(adapted, constant, reduction="none").flatten(1).mean(1)
        counts = list(teacher.counts)
        own, other = features.flatten(1).split(counts), constant.flatten(1).split(counts)
        nodes = zip(squares.split(counts), background.split(counts), strict=True)
        node_terms = [image_node_terms(*each) for each in nodes if len(each[0])]
        edge_terms = [
            image_edge_term(take(first, rows), take(second, rows))
            for first, second, rows in zip(own, other, linked.regions, strict=True)
            if len(rows)
        ]
        found = {
            "foreground": [each[0] for each in node_terms],
            "background": [each[1] for each in node_terms],
            "edges": edge_terms,
        }
        images = count_per_process(adapted.new_tensor(len(node_terms)))
        hard = (linked.labels == targets.num_classes).sum()
        self.log = {"nodes": squares.new_tensor(len(linked.rows)) / images}
        self.log["background"] = hard / images
        return {
            name: IMAGES_A_DEVICE * sum_of_images(each, adapted) / images
            for name, each in found.items()
        }

    def _feature_term(self, student: Outputs, teacher: Outputs, targets: Targets) -> Tensor:
        pairs = level_pairs(student, teacher, targets, adapters=self.levels)
        return sum((pair.student - pair.teacher).square().mean() for pair in pairs)
