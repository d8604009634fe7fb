"""Pages with boxes as the templates need them: pictures, places, colours and texts; no HTML."""

from dataclasses import dataclass

import numpy as np

from graphkd.report.content import Boxes, PageView
from graphkd.report.pictures import data_uri


@dataclass(frozen=True)
class Panel:
    """One picture of a page: a caption, and per box its place, colour and texts."""

    id: str
    name: str
    boxes: list[dict]


def page_panels(
    index: int, page: PageView, colours: dict[str, str], *, longest: int = 1100
) -> dict:
    """One page: its picture once, and a panel for the truth and for each model.

    Args:
        index: of the page in its report; ids are made of it.
        page: the page.
        colours: class name -> "#rrggbb".
        longest: no side of the picture exceeds this, in pixels.
    """
    height, width = page.image.shape[:2]
    parts = {"Ground truth": page.truth, **page.predictions}
    return {
        "id": f"page-{index}",
        "title": page.title,
        "width": width,
        "height": height,
        "picture": data_uri(page.image, longest=longest),
        "unit": max(width, height) / 100,
        "panels": [
            Panel(f"page-{index}-{place}", name, _boxes(boxes, colours))
            for place, (name, boxes) in enumerate(parts.items())
        ],
    }


def _boxes(boxes: Boxes, colours: dict[str, str]) -> list[dict]:
    """Big boxes first, so that small ones inside them stay on top and can be hovered."""
    x1, y1, x2, y2 = boxes.boxes.T
    order = np.argsort(-(x2 - x1) * (y2 - y1), kind="stable")
    shown = []
    for i in order:
        score = "" if boxes.scores is None else f" {boxes.scores[i]:.2f}"
        shown.append(
            {
                "x": round(float(x1[i]), 1),
                "y": round(float(y1[i]), 1),
                "width": round(float(max(x2[i] - x1[i], 0)), 1),
                "height": round(float(max(y2[i] - y1[i], 0)), 1),
                "colour": colours[boxes.classes[i]],
                "label": f"{boxes.classes[i]}{score}",
                "alone": boxes.paired is not None and not boxes.paired[i],
            }
        )
    return shown
