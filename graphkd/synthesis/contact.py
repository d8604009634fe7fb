"""Contact sheets of generated pages, scenes and lines, to look at."""

import math
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFont

from graphkd.synthesis.faces import faces
from graphkd.synthesis.lines import MadeCrop
from graphkd.synthesis.page import CLASSES_5, CLASSES_11, MadePage, five_classes

COLORS = (
    "#e6194b", "#9a6324", "#f032e6", "#3cb44b", "#808080", "#4d4d4d",
    "#f58231", "#4363d8", "#911eb4", "#0a9396", "#c9a400",
)  # fmt: skip


def draw_boxes(page: MadePage, *, classes: int | None = 11) -> Image.Image:
    """The image with every region outlined in the colour of its class (of 11 or 5).

    With `classes` None the text lines are outlined instead: red, or blue where they are ignored.
    """
    image = page.image.copy()
    draw = ImageDraw.Draw(image)
    if classes is None:
        for line in page.lines:
            draw.polygon(line.polygon, outline="blue" if line.ignore else "red")
        return image
    names = CLASSES_5 if classes == 5 else CLASSES_11
    for region in five_classes(page.regions) if classes == 5 else page.regions:
        color = COLORS[names.index(region.name)]
        x0, y0, x1, y1 = region.box
        # One pixel outside the box, so that the ink at its border stays visible.
        draw.rectangle((x0 - 1, y0 - 1, x1, y1), outline=color, width=max(1, image.height // 800))
    return image


def contact_sheet(
    make: Callable[[int], MadePage],
    *,
    pages: int,
    classes: int | None = 11,
    cell: int = 620,
    columns: int = 4,
) -> Image.Image:
    """Pages or scenes side by side with their boxes, and a legend of the classes below.

    Args:
        make: from an index to a page whose longer side has `cell` pixels.
        pages: how many, at least 1, from index 0.
        classes: 11 or 5; None for text lines instead of regions.
        cell: pixels of a page's longer side.
        columns: pages in a row.
    """
    names = {None: (), 5: CLASSES_5, 11: CLASSES_11}[classes]
    columns = min(columns, pages)
    images = [draw_boxes(make(number), classes=classes) for number in range(pages)]
    # Scenes are lower than pages; pages keep square cells.
    high = cell if classes else max(image.height for image in images)
    rows = math.ceil(pages / columns)
    pad, line = 12, 30
    # Below each column of pages is room for three names.
    a_line = max(min(len(names), 3 * columns), 1)
    legend = math.ceil(len(names) / a_line) * line + pad
    size = (columns * (cell + pad) + pad, rows * (high + pad) + pad + legend)
    sheet = Image.new("RGB", size, "#d0d0d0")
    for number, image in enumerate(images):
        x = pad + number % columns * (cell + pad) + (cell - image.width) // 2
        y = pad + number // columns * (high + pad) + (high - image.height) // 2
        sheet.paste(image, (x, y))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    for number, (name, color) in enumerate(zip(names, COLORS, strict=False)):
        x = pad + number % a_line * (sheet.width - pad) // a_line
        y = sheet.height - legend + number // a_line * line
        draw.rectangle((x, y + 3, x + 18, y + 19), outline=color, width=4)
        draw.text((x + 25, y), name, fill="black", font=font)
    return sheet


def line_sheet(make: Callable[[int], MadeCrop], *, lines: int, columns: int = 2) -> Image.Image:
    """Generated lines at 40 pixels height side by side, with their texts below.

    Args:
        make: from an index to a line.
        lines: how many, at least 1, from index 0.
        columns: lines in a row; a long line is cut at the end of its cell.
    """
    wide, high = 760, 66
    rows = math.ceil(lines / columns)
    sheet = Image.new("RGB", (columns * wide, rows * high), "#c8b4d0")
    # The face that has most characters labels them all.
    widest = max(faces(), key=lambda face: len(face.characters)).path
    draw, font = ImageDraw.Draw(sheet), ImageFont.truetype(widest, 13)
    for number in range(lines):
        line = make(number)
        picture = Image.fromarray(line.image).convert("RGB")
        size = max(1, round(picture.width * 40 / picture.height)), 40
        picture = picture.resize(size, Image.Resampling.BICUBIC)
        picture = picture.crop((0, 0, min(picture.width, wide - 8), 40))
        x, y = number // rows * wide, number % rows * high
        sheet.paste(picture, (x + 4, y + 2))
        label = f"{line.text[:85]}   [{line.kind}, {line.face}]"
        draw.text((x + 4, y + 44), label, fill="black", font=font)
    return sheet
