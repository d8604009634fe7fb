"""The `graphkd` method: nodes and edges of a document graph.

Evidence. Nodes are RoI-pooled proposal features sorted into text and non-text by their covariance,
text nodes are merged iteratively, non-text nodes weigh more, edges are distilled with a Mahalanobis
distance [paper]. Edges are cosines of a complete graph, the loss is node plus edge imitation [2nd].
All sampled background regions have a node term; those that the teacher finds hard have edges, too
[code, of the parent DSIG]. The formulas of the text test, the merging, the edge metric, the term
weights, and background that counts as non-text for edges [ours].

`Differs from the paper:` the paper gives no formula and the public release contains none of this,
so nothing here reproduces a published number.
"""

import logging
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from graphkd.distill.comm import count_per_process
from graphkd.distill.graph.distance import (
    edge_distance,
    masked_mean,
    node_squares,
    profile_metric,
)
from graphkd.distill.graph.edges import (
    cosine_affinity,
    mahalanobis_affinity,
    mahalanobis_weights,
    squared_mahalanobis,
)
from graphkd.distill.graph.nodes import (
    NONTEXT,
    TEXT,
    InstanceGraph,
    describe,
    match_size,
    plan_nodes,
    pool_edges,
)
from graphkd.distill.losses.base import DistillLoss, LossContext
from graphkd.distill.losses.build import register
from graphkd.distill.losses.functional import sum_of_images
from graphkd.distill.losses.levels import region_adapter
from graphkd.distill.losses.options import (
    need_regions,
    number,
    one_of,
    switch,
    weight_tuple,
    whole_number,
)
from graphkd.distill.losses.teacher_graph import (
    RunningScatter,
    SampledNodes,
    TeacherGraph,
    describe_batch,
    sample_nodes,
    take,
)
from graphkd.distill.losses.text_test import NODE_TYPES, THRESHOLDS, TextTest
from graphkd.distill.outputs import Outputs, Regions, Targets

# Edges between nodes whose distances vary less than this teach nothing: see `edges.variation`.
MIN_VARIATION = 0.02


@register("graphkd")
class GraphKD(DistillLoss):
    """Imitates the teacher's document graph: text, non-text and background nodes, typed edges."""

    needs = frozenset({"region_features", "region_predictions"})

    def __init__(
        self,
        context: LossContext,
        *,
        node_type: str = "covariance",
        threshold: str = "calibrated",
        fixed_threshold: float = 0.0,
        text_is_high: bool = False,
        decay: float = 0.99,
        merge: bool = True,
        neighbours: int = 8,
        max_background: int = 64,
        background_ce: float = 0.6,
        affinity: str = "cosine",
        weight_by: str = "none",
        distance: str = "mahalanobis",
        rho_min: float = 0.1,
        nontext_weight: float = 0.5,
        text_weight: float = 0.5,
        background_weight: float = 0.5,
        alpha: float = 1.0,
        edge_weight: float = 1.0,
        edge_type_weights: tuple[float, float, float] = (0.5, 1.0, 1.0),
    ):
        """Checks the options and builds the adapter.

        Args:
            context: facts about the pair.
            node_type: what decides whether a node is text: covariance (the teacher's features),
                gt_class, teacher_class, or none (no types: no merging, one kind of edge).
            threshold: how the threshold of the covariance test is found: calibrated (on the text
                classes), otsu (falls back to fixed where there are no two groups) or fixed.
            fixed_threshold: the threshold of `fixed`, a z-score.
            text_is_high: whether text has the higher covariance, for `otsu` and `fixed`;
                calibration finds this out.
            decay: share of running statistics that is kept after a batch.
            merge: join near copies of a region, and similar text nodes that are neighbours.
            neighbours: number of nearest boxes that count as neighbours in merging.
            max_background: largest number of hard background nodes (with edges) per image.
            background_ce: background regions are hard if the teacher's cross entropy is at least
                this.
            affinity: how edges are computed: cosine or mahalanobis.
            weight_by: weights of single edges: none or mahalanobis (the teacher's D2).
            distance: distance between edge profiles: euclidean or mahalanobis.
            rho_min: least shrinkage of the edge metric; with 1 it is Euclidean.
            nontext_weight: weight of the non-text node term.
            text_weight: weight of the text node term, which is also multiplied by
                min(1, alpha * non-text nodes / text nodes).
            background_weight: weight of the node term over all sampled background regions.
            alpha: see text_weight.
            edge_weight: weight of the edge term.
            edge_type_weights: weights of text-text, text-nontext and nontext-nontext edges.

        Raises:
            ValueError: an option has a wrong value, or the data set or the pair lacks something
                that an option needs.
        """
        super().__init__()
        need_regions(context)
        one_of("node_type", node_type, NODE_TYPES)
        one_of("threshold", threshold, THRESHOLDS)
        self.affinity = one_of("affinity", affinity, ("cosine", "mahalanobis"))
        self.weight_by = one_of("weight_by", weight_by, ("none", "mahalanobis"))
        self.distance = one_of("distance", distance, ("euclidean", "mahalanobis"))
        self.merging = switch("merge", merge) and node_type != "none"
        self.neighbours = whole_number("neighbours", neighbours, least=1)
        self.sampling = {
            "max_background": whole_number("max_background", max_background, least=0),
            "background_ce": number("background_ce", background_ce),
        }
        self.rho_min = number("rho_min", rho_min, most=1)
        self.weights = {
            "nontext": number("nontext_weight", nontext_weight),
            "text": number("text_weight", text_weight),
            "background": number("background_weight", background_weight),
            "edges": number("edge_weight", edge_weight),
        }
        self.alpha = number("alpha", alpha)
        self.edge_type_weights = weight_tuple("edge_type_weights", edge_type_weights, length=3)
        decay = number("decay", decay, most=1)
        self.text_test = TextTest(
            context,
            node_type=node_type,
            threshold=threshold,
            fixed_threshold=number("fixed_threshold", fixed_threshold, least=-math.inf),
            text_is_high=switch("text_is_high", text_is_high),
            decay=decay,
        )
        predictions = self.sampling["max_background"] > 0 or node_type == "teacher_class"
        if not predictions:  # then the teacher's box head need not run
            self.needs = frozenset({"region_features"})
        self.adapter = region_adapter(*context.width())
        self.teacher_scatter = self.student_scatter = None
        running = dict(num_labels=context.num_classes + 1, decay=decay)
        if "mahalanobis" in (affinity, weight_by):
            self.teacher_scatter = RunningScatter(width=context.width()[1], **running)
        if affinity == "mahalanobis":
            self.student_scatter = RunningScatter(width=context.width()[0], **running)
        self.check_every, self.calls, self.warned = 100, 0, False
        self.log: dict[str, Tensor] = {}

    def forward(self, student: Outputs, teacher: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Returns the terms `text`, `nontext` and `edges` (means over the images with a node) and
        `background` (a mean over the images with a region).
        """
        with torch.autocast(student.regions.features.device.type, enabled=False):
            terms = self._terms(student.regions, teacher.regions, targets)
        self.calls += 1
        if self.training and self.calls % self.check_every == 0:
            self._warn()
        return terms

    @torch.no_grad()
    def instance_graph(self, teacher: Outputs, targets: Targets, image: int) -> InstanceGraph:
        """The teacher's graph of one image of a batch, for drawing; running statistics do not
        change. `teacher` holds the parts in `needs`.
        """
        regions = teacher.regions
        with torch.autocast(regions.features.device.type, enabled=False):
            nodes = sample_nodes(regions, targets, **self.sampling)
            features = take(regions.features, nodes.rows).float()
            graph = self._teacher_graphs(features, nodes, regions, update=False)[image]
        return describe(graph.plan, nodes.boxes[image], graph.edges)

    def _terms(self, student: Regions, teacher: Regions, targets: Targets) -> dict[str, Tensor]:
        features, constant = match_size(student.features.float(), teacher.features.detach().float())
        adapted = self.adapter(features)
        found = {
            **self._terms_of_graphs(features, constant, teacher, targets),
            "background": background_terms(adapted, constant, targets, teacher.counts),
        }
        # A page with regions but without a node has a background term and no graph.
        counts = [len(found["edges"]), len(found["background"])]
        graphs, regions = count_per_process(adapted.new_tensor(counts))
        images = {"background": regions}
        return {
            name: self.weights[name] * sum_of_images(each, adapted) / images.get(name, graphs)
            for name, each in found.items()
        }

    def _terms_of_graphs(
        self, features: Tensor, constant: Tensor, teacher: Regions, targets: Targets
    ) -> dict[str, list[Tensor]]:
        nodes = sample_nodes(teacher, targets, **self.sampling)
        own, other = take(features, nodes.rows), take(constant, nodes.rows)
        with torch.no_grad():
            graphs = self._teacher_graphs(other, nodes, teacher, update=self.training)
            student_factor = _factor(self.student_scatter, own, nodes, update=self.training)
        self.log = {**self.text_test.log, **describe_batch(graphs)}
        # These few rows go through the adapter a second time, which is cheaper than the gradient of
        # an index into the adapted features of all regions.
        difference = self.adapter(own) - other
        parts = (own.split(nodes.counts), difference.split(nodes.counts))
        found: dict[str, list[Tensor]] = {"text": [], "nontext": [], "edges": []}
        for graph, rows, differences in zip(graphs, *parts, strict=True):
            if len(rows):
                edges = pool_edges(self._affinity(rows, student_factor), graph.plan)
                for name, term in self._graph_terms(graph, edges, differences).items():
                    found[name].append(term)
        return found

    def _graph_terms(
        self, graph: TeacherGraph, student_edges: Tensor, difference: Tensor
    ) -> dict[str, Tensor]:
        plan = graph.plan
        squares = node_squares(difference.flatten(1), plan.slots, plan.sizes)
        is_text, is_nontext = plan.of_type(TEXT), plan.of_type(NONTEXT)
        others = is_nontext.sum()
        # Text is usually the majority and would outweigh the few tables and figures of a page.
        balance = (self.alpha * others / is_text.sum().clamp(min=1)).clamp(max=1)
        balance = torch.where(others > 0, balance, torch.ones_like(balance))
        return {
            "text": balance * masked_mean(squares, is_text),
            "nontext": masked_mean(squares, is_nontext),
            "edges": edge_distance(
                student_edges,
                graph.edges,
                present=plan.present,
                is_text=is_text,
                metric=graph.metric,
                edge_weights=graph.weights,
                type_weights=self.edge_type_weights,
            ),
        }

    def _teacher_graphs(
        self, features: Tensor, nodes: SampledNodes, teacher: Regions, *, update: bool
    ) -> list[TeacherGraph]:
        logits = None if teacher.logits is None else teacher.logits[nodes.rows]
        types = self.text_test(features, nodes, logits, update=update).split(nodes.counts)
        factor = _factor(self.teacher_scatter, features, nodes, update=update)
        parts = (nodes.regions, types, nodes.boxes, features.split(nodes.counts))
        return [self._teacher_graph(*part, factor) for part in zip(*parts, strict=True)]

    def _teacher_graph(
        self, regions: Tensor, types: Tensor, boxes: Tensor, features: Tensor, factor: Tensor | None
    ) -> TeacherGraph:
        cosines = None
        if self.merging or self.affinity == "cosine":
            cosines = cosine_affinity(features.flatten(1))
        similarity = cosines if self.merging else None
        plan = plan_nodes(regions, types, boxes, similarity, neighbours=self.neighbours)
        affinity = cosines if self.affinity == "cosine" else self._affinity(features, factor)
        edges = pool_edges(affinity, plan)
        metric = distances = weights = None
        if self.distance == "mahalanobis":
            metric = profile_metric(edges, plan.present, rho_min=self.rho_min)
        if factor is not None:
            descriptors = plan.assignment @ features.mean((2, 3))
            distances = squared_mahalanobis(descriptors, factor)
        if self.weight_by == "mahalanobis":
            weights = mahalanobis_weights(distances, plan.present)
        return TeacherGraph(plan, edges, metric, weights, distances)

    def _affinity(self, features: Tensor, factor: Tensor | None) -> Tensor:
        if self.affinity == "cosine":
            return cosine_affinity(features.flatten(1))
        return mahalanobis_affinity(features.mean((2, 3)), factor)

    def _warn(self) -> None:
        self.text_test.warn()
        measured = self.log.get("d2_variation")
        if measured is not None and not self.warned and float(measured) <= MIN_VARIATION:
            self.warned = True
            logging.getLogger(__name__).warning(
                "graphkd: the Mahalanobis distances between nodes are almost equal (coefficient of "
                "variation %.3f), so the edges teach nothing; set AFFINITY: cosine and WEIGHT_BY: "
                "none",
                float(measured),
            )


def _factor(
    running: RunningScatter | None, features: Tensor, nodes: SampledNodes, *, update: bool
) -> Tensor | None:
    """The covariance factor of `running`, None without one; `update` first adds these nodes."""
    if running is None:
        return None
    if update:
        running.update(features.mean((2, 3)), nodes.labels)
    return running.factor()


def background_terms(
    student: Tensor, teacher: Tensor, targets: Targets, counts: tuple[int, ...]
) -> list[Tensor]:
    """The unweighted node term of the background regions, for every image that has a region.

    Args:
        student: (R, C, h, w) features of all sampled regions, adapted to the teacher's width.
        teacher: (R, C, h, w) features of the teacher.
        targets: the region labels.
        counts: number of regions of every image.
    """
    squares = F.mse_loss(student, teacher, reduction="none").flatten(1).mean(1)
    background = targets.region_labels == targets.num_classes
    parts = zip(squares.split(counts), background.split(counts), strict=True)
    return [masked_mean(*each) for each in parts if len(each[0])]
