"""Draws the pictures of docs/ from a finished demo: pages side by side, and one page's graph."""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from graphkd.report.confusion import examples_of, judge
from graphkd.report.graph import graph_picture
from graphkd.report.pictures import class_colours, draw_predictions
from graphkd.report.runs import DEMO_PARTS
from graphkd.report.stored import read_run
from graphkd.tasks.layout_report import load_pages, page_graph, predictions_of

HEIGHT, GAP = 620, 12
NAMES = {"student": "plain student", "distilled": "distilled student"}
SCORE = 0.5


def main() -> None:
    """Writes OUT/<prefix>_pages.jpg and OUT/<prefix>_graph.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="the demo's folder")
    parser.add_argument("out", type=Path, help="folder of the pictures")
    parser.add_argument("--prefix", default="demo")
    parser.add_argument("--only", default="", help="pages whose file name holds this")
    parser.add_argument("--pages", type=int, default=2)
    args = parser.parse_args()
    runs = [read_run(args.demo / name, name=NAMES.get(name, name)) for name in DEMO_PARTS]
    dicts, classes = load_pages(runs[-1])
    dicts = [page for page in dicts if args.only in Path(page["file_name"]).name]
    ids = {page["image_id"] for page in dicts}
    found = {run.name: predictions_of(run, classes) or [] for run in runs}
    found = {name: [row for row in rows if row["image_id"] in ids] for name, rows in found.items()}
    judged = judge(found, dicts, classes, score=SCORE)
    examples, _ = examples_of(judged, dicts, classes, count=args.pages, worst=False)
    colours = class_colours(classes)
    rows = []
    for example in examples:
        shown = {"ground truth": example.truth, **example.predictions}
        pages = {k: draw_predictions(example.image, v, colours=colours) for k, v in shown.items()}
        rows.append(side_by_side(pages))
    args.out.mkdir(parents=True, exist_ok=True)
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    sheet.save(args.out / f"{args.prefix}_pages.jpg", quality=82)
    graph, told = page_graph(runs[-1], dicts, device="cpu")
    print(told)
    if graph is not None:
        graph_picture(graph, args.out / f"{args.prefix}_graph.png")


def side_by_side(pictures: dict[str, Image.Image]) -> Image.Image:
    """Puts pictures of one height next to each other, each below its title, on white."""
    scaled = {
        title: picture.resize((round(picture.width * HEIGHT / picture.height), HEIGHT))
        for title, picture in pictures.items()
    }
    face = ImageFont.load_default(20)
    head = face.getbbox("Ag")[3] + 2 * GAP
    width = sum(picture.width for picture in scaled.values()) + GAP * (len(scaled) + 1)
    sheet = Image.new("RGB", (width, head + HEIGHT + GAP), "white")
    pen, left = ImageDraw.Draw(sheet), GAP
    for title, picture in scaled.items():
        pen.text((left, GAP), title, fill="#222222", font=face)
        sheet.paste(picture, (left, head))
        left += picture.width + GAP
    return sheet


if __name__ == "__main__":
    main()
