"""The nodes of one image's graph: selects the regions and groups them into nodes.

Evidence: nodes are RoI-pooled proposal features [paper]; foreground plus background that the
teacher finds hard, cross entropy at least 0.6 [code, of the parent DSIG]; the limit on the number
of background nodes [ours]. The teacher's features decide, and the plan is applied to both networks,
so node i consists of the same regions in both [ours].
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from graphkd.distill.graph.merge import merge_regions

TEXT, NONTEXT, BACKGROUND = 0, 1, 2
TYPE_NAMES = ("text", "nontext", "background")


@dataclass(frozen=True)
class NodePlan:
    """Assigns the regions of one image to nodes.

    There is one slot per member region. A node uses the slot of its first member; the slots of its
    other members stay unused. So no tensor size depends on how many regions merge.

    Attributes:
        regions: (n,) int64 rows among the image's regions, ascending.
        types: (n,) int64 `TEXT`, `NONTEXT` or `BACKGROUND` of every member region, which is also
            the type of the node in this slot.
        slots: (n,) int64 slot of the node that a member region belongs to.
        sizes: (n,) float number of members of the node in a slot; 0 for an unused slot.
    """

    regions: Tensor
    types: Tensor
    slots: Tensor
    sizes: Tensor

    @property
    def present(self) -> Tensor:
        """(n,) bool, True for slots that hold a node."""
        return self.sizes > 0

    def of_type(self, kind: int) -> Tensor:
        """(n,) bool, True for slots that hold a node of type `TEXT`, `NONTEXT` or `BACKGROUND`."""
        return (self.types == kind) & self.present

    @property
    def assignment(self) -> Tensor:
        """(n, n) A: row p has 1 / size at the members of node p and is 0 for an unused slot."""
        index = torch.arange(len(self.slots), device=self.slots.device)
        member = (index[:, None] == self.slots[None]).to(self.sizes)
        return member / self.sizes.clamp(min=1)[:, None]


@dataclass(frozen=True)
class InstanceGraph:
    """The teacher's graph of one image without unused slots, for drawing and inspection.

    Attributes:
        regions: (n,) int64 rows of the member regions among the image's regions.
        boxes: (n, 4) their boxes, in pixels of the teacher's input.
        region_types: (n,) int64 index into `graphkd.distill.graph.nodes.TYPE_NAMES`.
        groups: (n,) int64 node 0..M - 1 of every member region.
        assignment: (M, n) row-stochastic.
        node_types: (M,) int64 index into `TYPE_NAMES`.
        edges: (M, M) the teacher's affinities; the diagonal is the mean affinity among a node's own
            members.
    """

    regions: Tensor
    boxes: Tensor
    region_types: Tensor
    groups: Tensor
    assignment: Tensor
    node_types: Tensor
    edges: Tensor


def background_cross_entropy(teacher_logits: Tensor) -> Tensor:
    """The teacher's cross entropy of the label background for every region, (R,) >= 0.

    `teacher_logits` are (R, K + 1) in the teacher's own class list, background last. A cross
    entropy of 0.6 is a background probability of 0.549.
    """
    return -F.log_softmax(teacher_logits.float(), dim=1)[:, -1]


def select_regions(
    labels: Tensor,
    *,
    background: int,
    background_losses: Tensor | None,
    min_loss: float,
    max_background: int,
) -> Tensor:
    """Selects all foreground and the hardest background regions of one image: (n,) int64 rows,
    ascending.

    Args:
        labels: (R,) class of every region, `background` for background.
        background: the label of background.
        background_losses: (R,) output of `background_cross_entropy`; None selects no background.
        min_loss: lowest loss of a selected background region.
        max_background: largest number of background regions; those of largest loss are selected.
    """
    chosen = labels != background
    if background_losses is not None and max_background > 0 and len(labels):
        losses = torch.where(~chosen, background_losses, -torch.inf)
        best, rows = losses.topk(min(max_background, len(labels)))
        chosen = chosen.index_put((rows,), chosen[rows] | (best >= min_loss))
    return chosen.nonzero().flatten()


def match_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pools two sets of region features (n, *, h, w) to the smaller height and width."""
    size = tuple(min(a, b) for a, b in zip(first.shape[-2:], second.shape[-2:], strict=True))

    def pool(features: Tensor) -> Tensor:
        if tuple(features.shape[-2:]) == size:
            return features
        return F.adaptive_avg_pool2d(features, size)

    return pool(first), pool(second)


def plan_nodes(
    regions: Tensor,
    types: Tensor,
    boxes: Tensor,
    similarity: Tensor | None,
    *,
    neighbours: int = 8,
) -> NodePlan:
    """Groups the typed regions of one image into nodes.

    Args:
        regions: (n,) int64 rows among the image's regions.
        types: (n,) int64 types.
        boxes: (n, 4) boxes of these regions.
        similarity: (n, n) the teacher's cosines, which decide what merges; None merges nothing.
        neighbours: number of nearest boxes that count as neighbours, see `merge.nearest`.
    """
    if similarity is None:
        slots = torch.arange(len(regions), device=regions.device)
    else:
        kinds = {"text": TEXT, "nontext": NONTEXT}
        slots = merge_regions(similarity, boxes, types, **kinds, neighbours=neighbours)
    ones = torch.ones(len(regions), device=regions.device)
    return NodePlan(regions, types, slots, torch.zeros_like(ones).index_add(0, slots, ones))


def pool_edges(edges: Tensor, plan: NodePlan) -> Tensor:
    """Converts edges of regions to edges of nodes by `A E A^T`, (n, n) both; unused slots get 0.

    An edge between two nodes is the mean affinity of their members, and so is the self-loop of a
    merged node.
    """
    assignment = plan.assignment.to(edges)
    return assignment @ edges @ assignment.T


def describe(plan: NodePlan, boxes: Tensor, edges: Tensor) -> InstanceGraph:
    """The graph of a plan without its unused slots.

    `boxes` are the (n, 4) boxes of the plan's regions, `edges` the teacher's (n, n) edges of nodes
    from `pool_edges`.
    """
    used = plan.present.nonzero().flatten()
    place = torch.zeros_like(plan.slots)
    place[used] = torch.arange(len(used), device=used.device)
    return InstanceGraph(
        regions=plan.regions,
        boxes=boxes,
        region_types=plan.types,
        groups=place[plan.slots],
        assignment=plan.assignment[used],
        node_types=plan.types[used],
        edges=edges[used][:, used],
    )
