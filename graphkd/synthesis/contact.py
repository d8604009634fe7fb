"""Pictures of generated pages with their boxes: a single page and a contact sheet with a legend."""

import math

from PIL import Image, ImageDraw, ImageFont

from graphkd.synthesis.page import make_page
from graphkd.synthesis.regions import CLASSES_5, CLASSES_11, Page, Region, five_classes

COLORS = (
    "#e6194b", "#9a6324", "#f032e6", "#3cb44b", "#808080", "#4d4d4d",
    "#f58231", "#4363d8", "#911eb4", "#0a9396", "#c9a400",
)  # fmt: skip


def draw_boxes(page: Page, *, classes: int = 11) -> Image.Image:
    """The page image with the outline of every region in the colour of its class (11 or 5
    classes).
    """
    names, regions = _view(page, classes)
    image = page.image.copy()
    draw = ImageDraw.Draw(image)
    for region in regions:
        color = COLORS[names.index(region.name)]
        x0, y0, x1, y1 = region.box
        # One pixel outside the box, so that the ink at its border stays visible.
        draw.rectangle((x0 - 1, y0 - 1, x1, y1), outline=color, width=max(1, image.height // 800))
    return image


def contact_sheet(
    *, pages: int, seed: int, classes: int = 11, cell: int = 620, columns: int = 4
) -> Image.Image:
    """Pages 0, 1, ... of a series side by side with their boxes, and a legend below.

    Args:
        pages: how many, at least 1.
        seed: the series.
        classes: 11 or 5.
        cell: pixels of a page's longer side.
        columns: pages a row.
    """
    names = CLASSES_5 if classes == 5 else CLASSES_11
    columns = min(columns, pages)
    rows = math.ceil(pages / columns)
    pad, legend = 12, 46
    sheet = Image.new(
        "RGB", (columns * (cell + pad) + pad, rows * (cell + pad) + pad + legend), "#d0d0d0"
    )
    for number in range(pages):
        image = draw_boxes(make_page(seed, number, long_side=cell), classes=classes)
        x = pad + number % columns * (cell + pad) + (cell - image.width) // 2
        y = pad + number // columns * (cell + pad) + (cell - image.height) // 2
        sheet.paste(image, (x, y))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    x, y = pad, sheet.height - legend + 8
    for name, color in zip(names, COLORS, strict=False):
        draw.rectangle((x, y + 3, x + 18, y + 19), outline=color, width=4)
        draw.text((x + 25, y), name, fill="black", font=font)
        x += 25 + int(draw.textlength(name, font=font)) + 28
    return sheet


def _view(page: Page, classes: int) -> tuple[tuple[str, ...], tuple[Region, ...]]:
    if classes == 5:
        return CLASSES_5, five_classes(page.regions)
    return CLASSES_11, page.regions
