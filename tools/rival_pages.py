"""Scores `graphkd read` and rapidocr's whole pipeline on the same pages in one run, on one core.

python tools/rival_pages.py page_lines_test sroie_test --most 15 --json pages.json

Texts are compared without regard to case, and a long s is an s: receipts are labelled in capitals.
"""

import argparse
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from rapidocr import RapidOCR
from tabulate import tabulate
from tqdm.auto import tqdm

from graphkd.data import lines
from graphkd.data.catalog import register_all
from graphkd.data.mapper import read_for
from graphkd.document import Line, Page, text_region
from graphkd.evaluation.page_text import score_page, totals
from graphkd.evaluation.reading import folded
from graphkd.io import write_json
from graphkd.read.reader import Options, Reader, load_models

SHOWN = ("CER", "CER_lines", "line_recall", "line_precision", "NID", "successor")


def page_of(found: list[tuple], size: tuple[int, int]) -> Page:
    """A page with one region of (polygon, text) in reading order; `size` is (height, width)."""
    own = [
        Line(tuple((float(x), float(y)) for x, y in polygon), 1.0, text=folded(text))
        for polygon, text in found
    ]
    return Page("", 1, size[1], size[0], (text_region(own, score=1.0),) if own else ())


def ours() -> Callable[[np.ndarray], Page]:
    """The students in the package."""
    reader = Reader(load_models(threads=1), Options())

    def read(picture: np.ndarray) -> Page:
        (page,) = reader.pages(picture)
        regions = (
            replace(
                region,
                lines=tuple(replace(line, text=folded(line.text)) for line in region.lines),
            )
            for region in page.regions
        )
        return replace(page, regions=tuple(regions))

    return read


def rapidocr() -> Callable[[np.ndarray], Page]:
    """Detector and recogniser of rapidocr with its own settings, in its own order."""
    threads = dict.fromkeys(("intra_op_num_threads", "inter_op_num_threads"), 1)
    params = {f"EngineConfig.onnxruntime.{key}": value for key, value in threads.items()}
    engine = RapidOCR(params={"Global.use_cls": False, "Global.log_level": "error", **params})

    def read(picture: np.ndarray) -> Page:
        found = engine(picture[:, :, ::-1])
        pairs = [] if found.boxes is None else list(zip(found.boxes, found.txts, strict=True))
        return page_of(pairs, picture.shape[:2])

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="registered sets of text lines")
    parser.add_argument("--most", type=int, default=15, help="pages of each, with a fixed seed")
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    register_all()
    readers = {"graphkd read": ours(), "rapidocr": rapidocr()}
    rows = []
    for name in args.data:
        pages = lines.published(name)
        pages = random.Random(1).sample(pages, min(args.most, len(pages)))
        counts, seconds = {who: [] for who in readers}, dict.fromkeys(readers, 0.0)
        for page in tqdm(pages, name, unit="page"):
            picture = read_for(page, format="RGB")
            found = [(line["polygon"], line["text"]) for line in page["lines"]]
            truth = page_of(found, picture.shape[:2])
            for who, read in readers.items():
                start = time.perf_counter()
                result = read(picture)
                seconds[who] += time.perf_counter() - start
                document = str(page.get("document", page["image_id"]))
                counts[who].append(score_page(truth, result, document=document))
        for who in readers:
            numbers = totals(counts[who])
            row = {"data": name, "reader": who, "pages": len(pages)}
            row |= {key: numbers[key] for key in SHOWN}
            rows.append(row | {"seconds a page": seconds[who] / len(pages)})
    print(tabulate(rows, headers="keys", floatfmt=".2f"))
    if args.json:
        write_json(args.json, rows)


if __name__ == "__main__":
    main()
