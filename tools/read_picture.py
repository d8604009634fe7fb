"""Draws docs/pictures/read.jpg: a generated page as `graphkd read` sees it, beside its text."""

import argparse
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import graphkd
from graphkd.formats.text import page_md
from graphkd.report.pictures import draw_reading
from graphkd.synthesis import make_page

HEIGHT, MARGIN = 900, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--page", type=int, default=0)
    parser.add_argument("--side", type=int, default=1600, help="longer side of the page in pixels")
    args = parser.parse_args()
    page = np.asarray(make_page(args.seed, args.page, long_side=args.side).image)
    (found,) = graphkd.read_document(page).pages
    drawn = draw_reading(page, found)
    drawn = drawn.resize((round(drawn.width * HEIGHT / drawn.height), HEIGHT), Image.LANCZOS)
    sheet = Image.new("RGB", (drawn.width + 760, HEIGHT), "white")
    sheet.paste(drawn, (0, 0))
    face, pen, top = ImageFont.load_default(15), ImageDraw.Draw(sheet), MARGIN
    for line in page_md(found).splitlines():
        for part in textwrap.wrap(line, 96) or [""]:
            if top < HEIGHT - MARGIN:
                pen.text((drawn.width + MARGIN, top), part, fill="#222222", font=face)
            top += 20 if part else 10
    sheet.save(args.out, quality=85)


if __name__ == "__main__":
    main()
