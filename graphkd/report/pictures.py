"""Draws boxes on pages, and gives classes colours. Needs only Pillow and numpy."""

import base64
import colorsys
import io
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from graphkd.document import Page
from graphkd.report.content import Boxes, check_image

# Dark enough for a white page, and hard to confuse with the common kinds of colour blindness.
_CLASSES = (
    *("#0072b2", "#d55e00", "#00865f", "#aa3377", "#a67c00", "#332288"),
    *("#e0245e", "#2a9d9d", "#7a4a1e", "#5b8c00", "#7d5ba6", "#555555"),
)
_GOLDEN_ANGLE = 0.381966  # as a share of the circle; consecutive numbers get distant hues
_FILL = 36  # opacity of a box's inside, 0..255


def class_colours(names: Iterable[str]) -> dict[str, str]:
    """Gives every distinct name a colour "#rrggbb", in order of first appearance.

    The first twelve colours were selected by hand; more are computed and harder to tell apart.
    """
    return {name: _colour(index) for index, name in enumerate(dict.fromkeys(names))}


def _colour(index: int) -> str:
    if index < len(_CLASSES):
        return _CLASSES[index]
    red, green, blue = colorsys.hls_to_rgb((index * _GOLDEN_ANGLE) % 1.0, 0.38, 0.75)
    return "#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in (red, green, blue)))


def rgb(colour: str) -> tuple[int, int, int]:
    """Turns "#rrggbb" into three numbers in 0..255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def draw_predictions(
    image: np.ndarray, boxes: Boxes, *, colours: dict[str, str] | None = None
) -> Image.Image:
    """Draws boxes with class names and scores on a copy of a page.

    Args:
        image: (H, W, 3) RGB uint8.
        boxes: none gives the plain page.
        colours: class name -> "#rrggbb", see `class_colours()`; give pictures that are shown
            together the same. By default made from this page's own classes.

    Returns:
        An RGB picture of the same size. The best-scored box lies on top.
    """
    check_image(image)
    if colours is None:
        colours = class_colours(sorted(set(boxes.classes)))
    picture = Image.fromarray(image)
    width = max(1, round(max(picture.size) / 500))
    order = np.arange(len(boxes)) if boxes.scores is None else np.argsort(boxes.scores)
    pen = ImageDraw.Draw(picture, "RGBA")  # this mode blends, so that fills add up
    corners = [_inside(boxes.boxes[i], picture.size) for i in order]
    for i, corner in zip(order, corners, strict=True):
        pen.rectangle(corner, fill=(*rgb(colours[boxes.classes[i]]), _FILL))
    for i, corner in zip(order, corners, strict=True):
        pen.rectangle(corner, outline=colours[boxes.classes[i]], width=width)
    taken: list[tuple[float, float, float, float]] = []
    # The best-scored box picks a place for its name first.
    for i, corner in reversed(list(zip(order, corners, strict=True))):
        score = "" if boxes.scores is None else f" {boxes.scores[i]:.2f}"
        name = boxes.classes[i]
        _tag(pen, f"{name}{score}", corner, colours[name], taken, picture.size)
    return picture


def draw_lines(picture: Image.Image, polygons: Iterable[Sequence], *, colour: str) -> None:
    """Draws the polygons of text lines, points (x, y), into an RGB picture.

    Every second one has a darker inside, so that neighbours that overlap can be told apart.
    """
    pen = ImageDraw.Draw(picture, "RGBA")
    width = max(1, round(max(picture.size) / 700))
    for number, polygon in enumerate(polygons):
        points = [tuple(map(float, point)) for point in polygon]
        pen.polygon(points, fill=(*rgb(colour), _FILL + _FILL * (number % 2)))
        pen.line([*points, points[0]], fill=colour, width=width)


def draw_reading(image: np.ndarray, page: Page, *, classes: Sequence[str] = ()) -> Image.Image:
    """Draws regions with their number in the order and their class, and lines with baselines.

    Args:
        image: (H, W, 3) RGB uint8, the page upright.
        page: with regions in reading order.
        classes: all that the model knows, so that they have the same colours on every page.
    """
    own = sorted({region.label for region in page.regions}.difference(classes))
    colours = class_colours([*classes, *own])
    names = [f"{place} {region.label}" for place, region in enumerate(page.regions, start=1)]
    boxes = Boxes(
        np.array([region.box for region in page.regions]).reshape(-1, 4),
        names,
        [region.score for region in page.regions],
    )
    shown = {name: colours[region.label] for name, region in zip(names, page.regions, strict=True)}
    picture = draw_predictions(image, boxes, colours=shown)
    colour = class_colours(["text"])["text"]
    draw_lines(picture, [line.polygon for line in page.lines], colour=colour)
    pen = ImageDraw.Draw(picture)
    for line in page.lines:
        if len(line.baseline) > 1:
            pen.line(list(line.baseline), fill="#e0245e", width=max(1, max(picture.size) // 900))
    return picture


def data_uri(image: np.ndarray, *, longest: int = 1100) -> str:
    """Encodes a page as a JPEG data URI, scaled down so that no side exceeds `longest` pixels."""
    check_image(image)
    picture = Image.fromarray(image)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, which is the same on every machine."""
    return ImageFont.load_default(size)


def _inside(box: np.ndarray, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Clips a box to the picture, and sorts its corners as Pillow requires."""
    x1, x2 = np.clip(np.sort(box[[0, 2]]), 0, size[0] - 1)
    y1, y2 = np.clip(np.sort(box[[1, 3]]), 0, size[1] - 1)
    return float(x1), float(y1), float(x2), float(y2)


def _tag(pen, text, corner, colour, taken, size) -> None:
    """Writes a name plate at the first free place: above, inside, below, or along the top edge."""
    face = _font(max(9, round(max(size) / 75)))
    pad = max(1, face.size // 5)
    text = " ".join(text.split())
    left, top, right, bottom = face.getbbox(text)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x1, y1, x2, y2 = corner
    wanted = [
        (x1, y1 - height),
        (x1, y1),
        (x2 - width, y1 - height),
        (x2 - width, y1),
        (x1, y2),
        (x1, y2 - height),
        (x2 - width, y2),
    ]
    places = []
    for x, y in wanted:
        x = min(max(x, 0), max(size[0] - width, 0))
        y = min(max(y, 0), max(size[1] - height, 0))
        places.append((x, y, x + width, y + height))
    place = next((p for p in places if not any(_overlap(p, other) for other in taken)), places[0])
    taken.append(place)
    pen.rectangle(place, fill=colour)
    pen.text((place[0] + pad - left, place[1] + pad - top), text, fill="white", font=face)


def _overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
