"""Pages with boxes drawn on them, as PIL images; no HTML and no models."""

import base64
import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from graphkd.report.colours import class_colours, rgb
from graphkd.report.content import Boxes, check_image

_FILL = 36  # opacity of a box's inside, of 255
_GAP = 12


def draw_predictions(
    image: np.ndarray, boxes: Boxes, *, colours: dict[str, str] | None = None
) -> Image.Image:
    """Draw boxes with class names and scores on a copy of a page.

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
    for i, corner in reversed(
        list(zip(order, corners, strict=True))
    ):  # the best pick a place first
        score = "" if boxes.scores is None else f" {boxes.scores[i]:.2f}"
        name = boxes.classes[i]
        _tag(pen, f"{name}{score}", corner, colours[name], taken, picture.size)
    return picture


def side_by_side(pictures: dict[str, Image.Image], *, height: int | None = None) -> Image.Image:
    """Put pictures next to each other, each under its title, on white.

    Args:
        pictures: title -> picture; at least one.
        height: every picture is scaled to it, in pixels; by default that of the highest.

    Raises:
        ValueError: no pictures.
    """
    if not pictures:
        raise ValueError("side_by_side needs at least one picture")
    height = height or max(picture.height for picture in pictures.values())
    scaled = {
        title: picture.resize((max(1, round(picture.width * height / picture.height)), height))
        for title, picture in pictures.items()
    }
    face = _font(max(11, round(height / 32)))
    head = face.getbbox("Ag")[3] + 2 * _GAP
    total = sum(picture.width for picture in scaled.values()) + _GAP * (len(scaled) + 1)
    sheet = Image.new("RGB", (total, head + height + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    left = _GAP
    for title, picture in scaled.items():
        pen.text((left, _GAP), _shorten(title, face, picture.width), fill="#222222", font=face)
        sheet.paste(picture.convert("RGB"), (left, head))
        left += picture.width + _GAP
    return sheet


def data_uri(image: np.ndarray, *, longest: int = 1100) -> str:
    """Encode a page as a JPEG data URI, scaled down so that no side exceeds `longest` pixels."""
    check_image(image)
    picture = Image.fromarray(image)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font inside Pillow: the same on every machine, and no other package is needed."""
    return ImageFont.load_default(size)


def _inside(box: np.ndarray, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Clip a box to the picture; PIL refuses one whose corners are swapped."""
    x1, x2 = np.clip(np.sort(box[[0, 2]]), 0, size[0] - 1)
    y1, y2 = np.clip(np.sort(box[[1, 3]]), 0, size[1] - 1)
    return float(x1), float(y1), float(x2), float(y2)


def _tag(pen, text, corner, colour, taken, size) -> None:
    """Write a name plate at the first free place: above, inside, below, or along the top edge."""
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


def _shorten(text: str, face: ImageFont.FreeTypeFont, width: int) -> str:
    text = " ".join(text.split())
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
