"""What the teacher fixes for one image, and numbers for the log; no student here."""

from dataclasses import dataclass

import torch
from torch import Tensor

from graphkd.distill.graph.build import NodePlan
from graphkd.distill.graph.distance import ProfileMetric
from graphkd.distill.graph.edges import variation
from graphkd.distill.graph.nodes import TEXT


@dataclass(frozen=True)
class TeacherGraph:
    """What the teacher fixes for one image.

    Attributes:
        plan: regions to nodes.
        edges: (n, n) between nodes.
        metric: of edge profiles; None for Euclidean.
        weights: (n, n) of single edges; None for 1.
        distances: (n, n) D2 between nodes; None where no option reads it.
    """

    plan: NodePlan
    edges: Tensor
    metric: ProfileMetric | None
    weights: Tensor | None
    distances: Tensor | None


def describe_batch(graphs: list[TeacherGraph]) -> dict[str, Tensor]:
    """Detached numbers for the log, means over the images that have a node."""
    graphs = [graph for graph in graphs if len(graph.plan.regions)]
    if not graphs:
        return {}
    rows = []
    for graph in graphs:
        plan = graph.plan
        count = plan.present.sum()
        pairs = (count * (count - 1)).clamp(min=1)
        merged = (plan.is_text.sum(), plan.is_nontext.sum(), plan.is_background.sum())
        members = (plan.types == TEXT).sum()
        row = {
            "nodes_before": plan.sizes.sum(),
            "nodes": count,
            **dict(zip(("text", "nontext", "background"), merged, strict=True)),
            "text_share": members / (members + merged[1]).clamp(min=1),
            "edge_mean": (graph.edges.sum() - graph.edges.diagonal().sum()) / pairs,
        }
        if graph.metric is not None:
            row["metric_condition"] = graph.metric.condition
            row["metric_shrinkage"] = graph.metric.shrinkage
        if graph.distances is not None:
            row["d2_variation"] = variation(graph.distances, plan.present)
        rows.append(row)
    return {name: torch.stack([row[name].float() for row in rows]).mean() for name in rows[0]}
