"""Draws the document graph of a page: nodes, groups and edges over the page."""

import io
import math
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Polygon, Rectangle
from matplotlib.path import Path as Curve

from graphkd.io import replacing
from graphkd.report.content import NODE_TYPES, GraphView
from graphkd.report.pictures import data_uri

STRONGEST = 3
NODE_COLOURS = {"text": "#0072b2", "nontext": "#d55e00", "background": "#8c8c8c"}
MIXED_EDGE = "#7b2d8b"
_LABELS = {"text": "text", "nontext": "non-text", "background": "background"}
_MARKERS = {"text": "o", "nontext": "D", "background": "o"}
# The bends of an edge as shares of its length. Small ones are tried first.
_BENDS = (0.08, -0.08, 0.18, -0.18, 0.28, -0.28, 0.4, -0.4)
_CLEARANCE = 2.2  # between an edge and other nodes, in hundredths of the page's diagonal
_LONGEST_SIDE = 9.0  # inches
_LEGEND = 0.7  # inches below the page
_FADED = 0.45  # opacity of the page below its graph
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"


@dataclass(frozen=True)
class Node:
    """One node: its place, type, members (region numbers) and number of drawn edges."""

    x: float
    y: float
    type: str
    members: list[int]
    radius: float
    degree: int
    title: str


@dataclass(frozen=True)
class Edge:
    """One drawn edge between nodes `first` < `second`; `strength` is in 0..1 among the drawn edges.

    `bow` is a quadratic curve (start, control point, end), because a straight line would run
    through other nodes of the same text column.
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
class GraphLayout:
    """Everything that is drawn: nodes, edges (weakest first) and hulls of merged groups."""

    width: int
    height: int
    unit: float
    nodes: list[Node]
    edges: list[Edge]
    hulls: list[list[tuple[float, float]]]


def layout(view: GraphView, *, strongest: int = STRONGEST) -> GraphLayout:
    """Places a graph over its page.

    A node lies at the mean centre of its members and has their most frequent type. Each text or
    non-text node selects its `strongest` edges, each background node its strongest one. An edge is
    drawn if one of its ends selects it; edges of a node with itself are not drawn.
    """
    height, width = view.image.shape[:2]
    unit = math.hypot(width, height) / 100
    members = [np.flatnonzero(row).tolist() for row in view.assignment]
    types = [Counter(view.node_types[i] for i in group).most_common(1)[0][0] for group in members]
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
    return GraphLayout(width, height, unit, nodes, edges, hulls)


def graph_svg(view: GraphView, *, strongest: int = STRONGEST) -> Markup:
    """The graph as one SVG element; the mouse over a node or an edge shows a text."""
    plan = layout(view, strongest=strongest)
    figure = _figure(view, plan, page=False)
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "graphkd"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    for prefix, space in (("", _SVG), ("xlink", _XLINK)):
        ElementTree.register_namespace(prefix, space)
    root = ElementTree.fromstring(stream.getvalue())
    for left_out in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(left_out)
    titles = {f"edge-{i}": edge.title for i, edge in enumerate(plan.edges)}
    titles |= {f"node-{i}": node.title for i, node in enumerate(plan.nodes)}
    for element in root.iter():
        if (text := titles.get(element.get("id"))) is not None:
            title = ElementTree.Element(f"{{{_SVG}}}title")
            title.text = text
            element.insert(0, title)
    # A JPEG is much smaller than the PNG that matplotlib would embed.
    width, _, height = _points(plan)
    page = {"width": f"{width:.2f}", "height": f"{height:.2f}", "opacity": str(_FADED)}
    page |= {f"{{{_XLINK}}}href": data_uri(view.image, longest=1600), "preserveAspectRatio": "none"}
    root.insert(0, ElementTree.Element(f"{{{_SVG}}}image", page))
    label = f"document graph with {len(plan.nodes)} nodes and {len(plan.edges)} edges"
    root.attrib |= {"role": "img", "aria-label": label}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def graph_picture(view: GraphView, path: Path, *, strongest: int = STRONGEST) -> Path:
    """Draws a graph into a PNG file with the page behind it; returns the path."""
    figure = _figure(view, layout(view, strongest=strongest), page=True)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        figure.savefig(stream, format="png", facecolor="white", dpi=150)
    return path


def _points(plan: GraphLayout) -> tuple[float, float, float]:
    """Width and height of the picture, and height of the page in it, in points."""
    scale = 72 * _LONGEST_SIDE / max(plan.width, plan.height)
    return plan.width * scale, plan.height * scale + 72 * _LEGEND, plan.height * scale


def _figure(view: GraphView, plan: GraphLayout, *, page: bool) -> Figure:
    width, height, page_height = _points(plan)
    figure = Figure(figsize=(width / 72, height / 72))
    axes = figure.add_axes((0, 1 - page_height / height, 1, page_height / height))
    if page:
        axes.imshow(view.image, alpha=_FADED, extent=(0, plan.width, plan.height, 0))
    axes.set(xlim=(0, plan.width), ylim=(plan.height, 0))
    axes.axis("off")
    blue = NODE_COLOURS["text"]
    for hull in plan.hulls:
        axes.add_patch(Polygon(hull, facecolor=blue + "12", edgecolor=blue, ls="--", lw=1))
    for (x1, y1, x2, y2), kind in zip(view.boxes, view.node_types, strict=True):
        style = dict(lw=0.5, ls=":") if kind == "background" else dict(lw=1)
        colour = NODE_COLOURS[kind]
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=colour, **style))
    for number, edge in enumerate(plan.edges):
        axes.add_patch(
            PathPatch(
                Curve(edge.bow, [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3]),
                fill=False,
                color=edge.colour,
                lw=0.5 if edge.background else 0.8 + 2.4 * edge.strength,
                alpha=0.45 if edge.background else 0.3 + 0.6 * edge.strength,
                zorder=3,
                gid=f"edge-{number}",
            )
        )
    for number, node in enumerate(plan.nodes):
        axes.plot(
            node.x,
            node.y,
            **_marker(node.type),
            markersize=2 * node.radius * width / plan.width,
            markeredgewidth=0.8,
            zorder=5,
            gid=f"node-{number}",
        )
    figure.legend(
        handles=_handles(plan),
        loc="lower center",
        ncols=4,
        frameon=False,
        fontsize=1.15 * width / 72,
        columnspacing=1.2,
        handlelength=1.6,
    )
    return figure


def _marker(kind: str) -> dict:
    colour, hollow = NODE_COLOURS[kind], kind == "background"
    return {
        "linestyle": "",
        "marker": _MARKERS[kind],
        "markerfacecolor": "white" if hollow else colour,
        "markeredgecolor": colour if hollow else "white",
    }


def _handles(plan: GraphLayout) -> list[Line2D]:
    counts = Counter(node.type for node in plan.nodes)
    handles = [
        Line2D([], [], **_marker(kind), markersize=9, label=f"{_LABELS[kind]} ({counts[kind]})")
        for kind in NODE_TYPES
        if counts[kind]
    ]
    if plan.hulls:
        blue = NODE_COLOURS["text"]
        handles.append(Line2D([], [], color=blue, ls="--", lw=1, label="merged group"))
    drawn = {edge.colour for edge in plan.edges}
    for first, second in (("text", "text"), ("text", "nontext"), ("nontext", "nontext")):
        colour = edge_colour(first, second)
        if colour in drawn:
            label = f"{_LABELS[first]} to {_LABELS[second]}"
            handles.append(Line2D([], [], color=colour, lw=2.2, label=label))
    return handles


def edge_colour(first: str, second: str) -> str:
    """The colour of an edge between two node types, in any order."""
    if "background" in (first, second):
        return NODE_COLOURS["background"]
    return NODE_COLOURS[first] if first == second else MIXED_EDGE


def _edges(
    affinity: np.ndarray,
    types: list[str],
    places: np.ndarray,
    *,
    strongest: int,
    clearance: float,
) -> list[Edge]:
    """The edges to draw, weakest first so that strong ones lie on top."""
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
    """Bends an edge just enough to keep the clearance from the `inked` nodes; if no bend does, the
    one with the largest clearance is used.
    """
    start, end = places[first], places[second]
    others = np.array([at for i, at in enumerate(places) if i in inked - {first, second}])
    across = np.array([start[1] - end[1], end[0] - start[0]])
    t = np.linspace(0.05, 0.95, 19)[:, None]
    best, best_room = None, -1.0
    for bend in _BENDS:
        control = (start + end) / 2 + 2 * bend * across  # the curve reaches half as far
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
    """Corners of the convex hull around boxes, `margin` pixels away from them."""
    grown = boxes + margin * np.array([-1, -1, 1, 1])
    corners = grown[:, [[0, 1], [2, 1], [2, 3], [0, 3]]].reshape(-1, 2).astype(np.float32)
    return [(float(x), float(y)) for x, y in cv2.convexHull(corners)[:, 0]]
