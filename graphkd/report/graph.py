"""A page's document graph as a picture: nodes, groups and edges drawn over the page."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from markupsafe import Markup

from graphkd.report.colours import NODE_COLOURS, edge_colour
from graphkd.report.content import NODE_TYPES, GraphView
from graphkd.report.pictures import data_uri
from graphkd.report.rendering import render

STRONGEST = 3
_BENDS = (0.08, -0.08, 0.18, -0.18, 0.28, -0.28, 0.4, -0.4)  # of an edge's length
_CLEARANCE = 2.2  # in hundredths of the page's diagonal
_LABELS = {"text": "text", "nontext": "non-text", "background": "background"}


@dataclass(frozen=True)
class Node:
    """One merged node: its place, type, members (region numbers) and number of drawn edges."""

    x: float
    y: float
    type: str
    members: list[int]
    radius: float
    degree: int
    title: str


@dataclass(frozen=True)
class Edge:
    """One drawn edge between nodes `first` < `second`; strength in 0..1 among the drawn ones.

    `bow` is a quadratic curve (start, control point, end): a straight line would run through other
    nodes of the same text column.
    """

    first: int
    second: int
    colour: str
    affinity: float
    strength: float
    background: bool
    title: str
    bow: list[tuple[float, float]]


@dataclass(frozen=True)
class Layout:
    """What both renderings draw: nodes, edges (weakest first) and hulls of merged groups."""

    width: int
    height: int
    unit: float
    nodes: list[Node]
    edges: list[Edge]
    hulls: list[list[tuple[float, float]]]


def layout(view: GraphView, *, strongest: int = STRONGEST) -> Layout:
    """Place a graph over its page.

    A node lies at the mean centre of its members and takes their most frequent type. Each text or
    non-text node shows its `strongest` edges, a background node only its single strongest one; an
    edge is drawn if either end chose it. Self-loops aren't drawn. No regions: an empty layout.
    """
    height, width = view.image.shape[:2]
    unit = math.hypot(width, height) / 100
    members = [np.flatnonzero(row).tolist() for row in view.assignment]
    types = [_most_common([view.node_types[i] for i in group]) for group in members]
    middles = (view.boxes[:, :2] + view.boxes[:, 2:]) / 2
    weights = view.assignment / np.maximum(view.assignment.sum(1, keepdims=True), 1e-12)
    places = weights @ middles
    edges = _edges(view.edges, types, places, strongest=strongest, clearance=_CLEARANCE * unit)
    degrees = Counter(end for edge in edges for end in (edge.first, edge.second))
    nodes = [
        Node(
            x=float(x),
            y=float(y),
            type=kind,
            members=group,
            radius=unit * (0.5 if kind == "background" else 1.1 + 0.3 * math.sqrt(len(group) - 1)),
            degree=degrees[i],
            title=_node_title(view, group, kind, degrees[i]),
        )
        for i, ((x, y), kind, group) in enumerate(zip(places, types, members, strict=True))
    ]
    hulls = [_hull(view.boxes[group], 0.5 * unit) for group in members if len(group) > 1]
    return Layout(width, height, unit, nodes, edges, hulls)


def graph_svg(view: GraphView, *, strongest: int = STRONGEST) -> Markup:
    """Render a graph as one SVG element with the page inside it; hover text by <title>."""
    return Markup(
        render(
            "graph.svg.j2",
            plan=layout(view, strongest=strongest),
            regions=list(zip(view.boxes.tolist(), view.node_types, strict=True)),
            picture=data_uri(view.image, longest=1600),
            colours=NODE_COLOURS,
        )
    )


def graph_parts(view: GraphView, *, strongest: int = STRONGEST) -> dict:
    """What the page templates show of a graph: the SVG, its legend, whether something merged."""
    return {
        "svg": graph_svg(view, strongest=strongest),
        "legend": graph_legend(view),
        "merged": len(set(view.groups)) < len(view.groups),
    }


def graph_legend(view: GraphView) -> list[tuple[str, str, int]]:
    """Return (type, its name, number of nodes) of every node type, absent ones too."""
    types = [
        _most_common([view.node_types[i] for i in np.flatnonzero(row)]) for row in view.assignment
    ]
    return [(kind, _LABELS[kind], types.count(kind)) for kind in NODE_TYPES]


def graph_picture(view: GraphView, path: Path, *, strongest: int = STRONGEST) -> Path:
    """Draw a graph with matplotlib into a PNG file, with a legend; returns the path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import PathPatch, Polygon, Rectangle
    from matplotlib.path import Path as MplPath

    plan = layout(view, strongest=strongest)
    inches = 9 * plan.width / max(plan.width, plan.height)
    figure = Figure(figsize=(inches, inches * plan.height / plan.width + 0.7), dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0.7 / figure.get_figheight(), 1, 1 - 0.7 / figure.get_figheight()))
    axes.imshow(view.image, alpha=0.45, extent=(0, plan.width, plan.height, 0))
    axes.set(xlim=(0, plan.width), ylim=(plan.height, 0))
    axes.axis("off")
    point = 72 * inches / plan.width  # one picture pixel in points
    for hull in plan.hulls:
        blue = NODE_COLOURS["text"]
        axes.add_patch(Polygon(hull, facecolor=blue + "12", edgecolor=blue, ls="--", lw=1))
    for (x1, y1, x2, y2), kind in zip(view.boxes, view.node_types, strict=True):
        style = dict(lw=0.5, ls=":") if kind == "background" else dict(lw=1)
        colour = NODE_COLOURS[kind]
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=colour, **style))
    for edge in plan.edges:
        axes.add_patch(
            PathPatch(
                MplPath(edge.bow, [MplPath.MOVETO, MplPath.CURVE3, MplPath.CURVE3]),
                fill=False,
                color=edge.colour,
                lw=0.5 if edge.background else 0.8 + 2.4 * edge.strength,
                alpha=0.45 if edge.background else 0.3 + 0.6 * edge.strength,
                zorder=3,
            )
        )
    for node in plan.nodes:
        hollow = node.type == "background"
        axes.plot(
            node.x,
            node.y,
            marker="D" if node.type == "nontext" else "o",
            ms=2 * node.radius * point,
            mfc="white" if hollow else NODE_COLOURS[node.type],
            mec=NODE_COLOURS[node.type] if hollow else "white",
            mew=0.8,
            zorder=5,
        )
    figure.legend(
        handles=_handles(view, plan, Line2D),
        loc="lower center",
        ncols=4,
        frameon=False,
        fontsize=1.15 * inches,
        columnspacing=1.2,
        handlelength=1.6,
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor="white")
    return path


def _handles(view: GraphView, plan: Layout, line) -> list:
    shapes = {"text": "o", "nontext": "D", "background": "o"}
    handles = [
        line(
            [],
            [],
            ls="",
            marker=shapes[kind],
            mec=NODE_COLOURS[kind],
            mfc="white" if kind == "background" else NODE_COLOURS[kind],
            label=f"{label} ({count})",
        )
        for kind, label, count in graph_legend(view)
        if count
    ]
    if plan.hulls:
        blue = NODE_COLOURS["text"]
        handles.append(line([], [], color=blue, ls="--", lw=1, label="merged group"))
    drawn = {edge.colour for edge in plan.edges}
    for first, second in (("text", "text"), ("text", "nontext"), ("nontext", "nontext")):
        colour = edge_colour(first, second)
        if colour in drawn:
            label = f"{_LABELS[first]} to {_LABELS[second]}"
            handles.append(line([], [], color=colour, lw=2.2, label=label))
    return handles


def _edges(
    affinity: np.ndarray,
    types: list[str],
    places: np.ndarray,
    *,
    strongest: int,
    clearance: float,
) -> list[Edge]:
    """Choose the edges to draw, weakest first so that strong ones lie on top."""
    both = (affinity + affinity.T) / 2
    np.fill_diagonal(both, -np.inf)
    both[~np.isfinite(both)] = -np.inf
    chosen: set[tuple[int, int]] = set()
    for i, row in enumerate(both):
        for j in np.argsort(-row, kind="stable")[: 1 if types[i] == "background" else strongest]:
            if row[j] > -np.inf:
                chosen.add((min(i, int(j)), max(i, int(j))))
    pairs = sorted(chosen, key=lambda pair: both[pair])
    if not pairs:
        return []
    low, high = both[pairs[0]], both[pairs[-1]]
    inked = {i for i, kind in enumerate(types) if kind != "background"}
    return [
        Edge(
            first=i,
            second=j,
            colour=edge_colour(types[i], types[j]),
            affinity=float(both[i, j]),
            strength=float((both[i, j] - low) / (high - low)) if high > low else 1.0,
            background="background" in (types[i], types[j]),
            title=f"{_LABELS[types[i]]} to {_LABELS[types[j]]}, affinity {both[i, j]:.3f}",
            bow=_bow(i, j, places, inked, clearance),
        )
        for i, j in pairs
    ]


def _bow(
    first: int, second: int, places: np.ndarray, inked: set[int], clearance: float
) -> list[tuple[float, float]]:
    """Bend an edge as little as keeps it clear of the `inked` nodes, or else as far as can be."""
    start, end = places[first], places[second]
    others = np.array([at for i, at in enumerate(places) if i in inked - {first, second}])
    across = np.array([start[1] - end[1], end[0] - start[0]])
    t = np.linspace(0.05, 0.95, 19)[:, None]
    best, best_room = None, -1.0
    for bend in _BENDS:
        control = (start + end) / 2 + 2 * bend * across  # the curve gets half as far as this point
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
        gaps = np.linalg.norm(curve[:, None] - others.reshape(1, -1, 2), axis=-1)
        room = float(gaps.min()) if gaps.size else clearance
        if room > best_room:
            best, best_room = control, room
        if room >= clearance:
            break
    return [(float(x), float(y)) for x, y in (start, best, end)]


def _node_title(view: GraphView, members: list[int], kind: str, degree: int) -> str:
    parts = [f"{_LABELS[kind]} node"]
    if view.classes is not None:
        counts = Counter(view.classes[i] for i in members)
        parts.append(", ".join(f"{name} x {n}" if n > 1 else name for name, n in counts.items()))
    if len(members) > 1:
        parts.append(f"{len(members)} regions merged")
    parts.append(f"degree {degree}")
    return " · ".join(parts)


def _hull(boxes: np.ndarray, margin: float) -> list[tuple[float, float]]:
    """Return the corners of the convex hull round some boxes, `margin` pixels away from them."""
    grown = boxes + margin * np.array([-1, -1, 1, 1])
    corners = grown[:, [[0, 1], [2, 1], [2, 3], [0, 3]]].reshape(-1, 2).astype(np.float32)
    return [(float(x), float(y)) for x, y in cv2.convexHull(corners)[:, 0]]


def _most_common(values: list[str]) -> str:
    return Counter(values).most_common(1)[0][0]
