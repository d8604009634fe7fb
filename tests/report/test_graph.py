"""The drawn graph is the given graph: nodes, groups, edges, hover text."""

import dataclasses
import xml.etree.ElementTree as ElementTree

import numpy as np
from PIL import Image

from graphkd.report.content import GraphView
from graphkd.report.graph import graph_picture, graph_svg, layout
from tests.report import sample

SVG = "{http://www.w3.org/2000/svg}"
IMAGE = np.full((100, 100, 3), 255, np.uint8)


def tiny() -> GraphView:
    """Regions 0 and 2 merged, then a figure, then background."""
    return GraphView(
        IMAGE,
        np.array([[0, 0, 20, 20], [60, 0, 80, 20], [0, 40, 20, 60], [60, 60, 80, 80]]),
        ["text", "nontext", "text", "background"],
        [5, 6, 5, 7],
        np.array([[1.0, 0.2, 0.9], [0.4, 1.0, 0.5], [0.9, 0.5, 1.0]]),
        np.array([[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0, 0, 0, 1]]),
        ["title", "figure", "title", "none"],
    )


def test_layout_by_hand():
    plan = layout(tiny(), strongest=1)
    merged, figure, background = plan.nodes
    assert (merged.x, merged.y, merged.type, merged.members) == (10, 30, "text", [0, 2])
    assert (figure.x, figure.y, figure.type) == (70, 10, "nontext")
    # Symmetric affinities: 0-1 is 0.3, 0-2 is 0.9, 1-2 is 0.5; the strongest of each node.
    assert [(e.first, e.second, e.affinity) for e in plan.edges] == [(1, 2, 0.5), (0, 2, 0.9)]
    assert [e.strength for e in plan.edges] == [0.0, 1.0]
    assert [node.degree for node in plan.nodes] == [1, 1, 2]
    assert merged.title == "text node · title x 2 · 2 regions merged · degree 1"
    assert len(plan.hulls) == 1
    xs, ys = zip(*plan.hulls[0], strict=True)
    assert min(xs) < 0 < 20 < max(xs) < 25 and min(ys) < 0 < 60 < max(ys) < 65


def test_more_edges_are_asked_for_but_never_self_loops_or_missing_ones():
    view = tiny()
    assert len(layout(view, strongest=9).edges) == 3
    broken = view.edges.copy()
    broken[0, 1] = np.nan
    assert len(layout(dataclasses.replace(view, edges=broken), strongest=9).edges) == 2


def test_an_edge_goes_round_a_node_in_between():
    boxes = np.array([[45, y, 55, y + 4] for y in (5, 45, 85)], float)
    edges = np.array([[1, 0, 0.9], [0, 1, 0], [0.9, 0, 1]])
    view = GraphView(IMAGE, boxes, ["text"] * 3, [0, 1, 2], edges, np.eye(3))
    (edge,) = [e for e in layout(view, strongest=1).edges if (e.first, e.second) == (0, 2)]
    start, control, end = map(np.array, edge.bow)
    middle = 0.25 * start + 0.5 * control + 0.25 * end
    assert np.linalg.norm(middle - [50, 47]) > 3


def words_of(view) -> dict[str, str]:
    """Id -> hover text of everything in the picture that has one."""
    root = ElementTree.fromstring(str(graph_svg(view)))
    return {e.get("id"): e[0].text for e in root.iter() if len(e) and e[0].tag == f"{SVG}title"}


def test_hovering_a_node_or_an_edge_shows_its_words():
    view = sample.graph()
    plan = layout(view)
    words = words_of(view)
    assert len(words) == len(plan.nodes) + len(plan.edges)
    for i, node in enumerate(plan.nodes):
        assert words[f"node-{i}"] == node.title and f"degree {node.degree}" in node.title
    for i, edge in enumerate(plan.edges):
        assert words[f"edge-{i}"] == edge.title and "affinity" in edge.title
    assert len(plan.hulls) == 3
    assert any(
        "text x 3 · 3 regions merged" in t or "2 regions merged" in t for t in words.values()
    )


def test_the_picture_holds_the_page_as_jpeg_behind_the_graph():
    root = ElementTree.fromstring(str(graph_svg(sample.graph())))
    (image,) = root.iter(f"{SVG}image")
    assert list(root)[0] is image
    assert image.get("{http://www.w3.org/1999/xlink}href").startswith("data:image/jpeg;base64,")
    width, height = (float(value) for value in root.get("viewBox").split()[2:])
    assert float(image.get("width")) == width and float(image.get("height")) < height
    assert float(image.get("height")) / width == 800 / 600
    assert "metadata" not in str(graph_svg(sample.graph()))


def test_the_legend_counts_merged_nodes():
    text = "".join(ElementTree.fromstring(str(graph_svg(tiny()))).itertext())
    for words in ("text (1)", "non-text (1)", "background (1)", "merged group"):
        assert words in text


def test_a_hostile_class_name_is_text():
    classes = ["</title><script>alert(1)</script>"] * 4
    svg = str(graph_svg(dataclasses.replace(tiny(), classes=classes)))
    assert "<script" not in svg and "&lt;script&gt;" in svg


def test_an_empty_graph_and_a_single_node_are_drawn(tmp_path):
    empty = GraphView(IMAGE, np.zeros((0, 4)), [], [], np.zeros((0, 0)), np.zeros((0, 0)))
    single = GraphView(IMAGE, np.array([[1, 1, 9, 9]]), ["text"], [0], np.eye(1), np.eye(1))
    for view, nodes in ((empty, 0), (single, 1)):
        plan = layout(view)
        assert (len(plan.nodes), plan.edges) == (nodes, [])
        ElementTree.fromstring(str(graph_svg(view)))
        assert graph_picture(view, tmp_path / "graph.png").is_file()


def test_picture_shows_page_nodes_and_legend(tmp_path):
    path = graph_picture(sample.graph(), tmp_path / "new" / "graph.png")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (np.abs(pixels - colour).sum(-1) < 12).sum() > 300
