"""Draws the pictures of docs/ from a finished demo: pages side by side, and one page's graph."""

import argparse
from pathlib import Path

from detectron2.data import DatasetCatalog
from PIL import Image

from graphkd.demo import plan
from graphkd.engine.build import build_trained
from graphkd.engine.showcase import graph_view, page_views, sample_pages
from graphkd.report.colours import class_colours
from graphkd.report.graph import graph_picture
from graphkd.report.pictures import draw_predictions, side_by_side
from graphkd.tasks.base import task_of

HEIGHT = 620
NAMES = {"student": "plain student", "distilled": "distilled student"}


def main() -> None:
    """Writes OUT/<prefix>_pages.jpg and OUT/<prefix>_graph.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="the demo's yaml")
    parser.add_argument("demo", type=Path, help="the demo's folder")
    parser.add_argument("out", type=Path, help="folder of the pictures")
    parser.add_argument("--prefix", default="demo")
    parser.add_argument("--only", default="", help="pages whose file name holds this")
    parser.add_argument("--pages", type=int, default=2)
    parser.add_argument("--skip", type=int, default=0, help="leave out the first so many")
    args = parser.parse_args()
    parts = plan(args.config, out=args.demo, overrides=[])
    cfg, source = parts[-1].cfg, parts[-1].source
    classes = task_of(cfg).classes(cfg, source=source)
    weights = {part.name: part.folder / "model_final.pth" for part in parts}
    models = {
        NAMES.get(part.name, part.name): build_trained(
            part.cfg, weights[part.name], classes=classes
        )[0]
        for part in parts
    }
    if args.only:
        found = DatasetCatalog.get(cfg.DATASETS.TEST[0])
        pages = [page for page in found if args.only in Path(page["file_name"]).name]
    else:
        pages = sample_pages(cfg.DATASETS.TEST[0], args.pages + args.skip)
    pages = pages[args.skip : args.skip + args.pages]
    colours = class_colours(classes)
    rows = []
    for view in page_views(cfg, pages, models, classes):
        shown = {"ground truth": view.truth, **view.predictions}
        rows.append(
            side_by_side(
                {k: draw_predictions(view.image, v, colours=colours) for k, v in shown.items()},
                height=HEIGHT,
            )
        )
    args.out.mkdir(parents=True, exist_ok=True)
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    sheet.save(args.out / f"{args.prefix}_pages.jpg", quality=82)
    graph = graph_view(cfg, pages[0], source=source, weights=weights["distilled"], classes=classes)
    if graph is not None:
        graph_picture(graph, args.out / f"{args.prefix}_graph.png")


if __name__ == "__main__":
    main()
