"""The graph of a single page as an HTML file of its own; the drawing is next door."""

from collections.abc import Mapping
from pathlib import Path

from graphkd.io import write_text
from graphkd.report.content import GraphView
from graphkd.report.graph import STRONGEST, graph_parts
from graphkd.report.rendering import render


def write_graph_page(
    path: Path,
    view: GraphView,
    *,
    title: str,
    about: Mapping[str, str],
    strongest: int = STRONGEST,
) -> None:
    """Write a page's graph as one HTML file without network or scripts, atomically.

    Args:
        path: the file; parent folders are made.
        view: the graph.
        title: what the page is called.
        about: how it was made.
        strongest: edges of every text or non-text node.
    """
    text = (
        f"{_count(len(view.assignment), 'node')} of {_count(len(view.boxes), 'region')}. Every "
        f"text and non-text node shows its {_count(strongest, 'strongest edge')}, thicker where "
        "the affinity is higher. Hover over a node for its class, type and edges."
    )
    write_text(
        Path(path),
        render(
            "graph.html.j2",
            title=title,
            text=text,
            graph=graph_parts(view, strongest=strongest),
            about=about,
        ),
    )


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
