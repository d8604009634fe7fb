"""Scores a text detector (ONNX) and that of rapidocr on the same pages in one run, on one core.

python tools/rivals.py text.onnx page_lines_test sroie_test --json rivals.json
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import yaml
from tabulate import tabulate
from tqdm.auto import tqdm

from graphkd.data import lines
from graphkd.data.catalog import register_all
from graphkd.data.mapper import read_for
from graphkd.evaluation.hmean import document_lines, measure
from graphkd.io import write_json
from graphkd.predict.onnx_detector import load_onnx

Found = list[tuple[np.ndarray, float]]


def ours(path: Path, *, size: int | None) -> Callable[[np.ndarray], Found]:
    """The lines that an ONNX file of graphkd finds on an RGB page (H, W, 3)."""
    model = load_onnx(path, device="cpu", threads=1)
    if size is not None:
        model.resize = "long", size

    def find(page: np.ndarray) -> Found:
        found = model.detect([model.prepare(page)])[0]
        return list(zip(found.polygons, found.scores.tolist(), strict=True))

    return find


def rapidocr(options: dict) -> Callable[[np.ndarray], Found]:
    """The lines that rapidocr's detector finds with its own preparation and post-processing.

    `options` change its parameters, such as {"Det.limit_type": "max"}.
    """
    from rapidocr import RapidOCR

    threads = dict.fromkeys(("intra_op_num_threads", "inter_op_num_threads"), 1)
    engine = RapidOCR(
        params={
            "Global.use_cls": False,
            "Global.use_rec": False,
            "Global.log_level": "error",
            **{f"EngineConfig.onnxruntime.{key}": value for key, value in threads.items()},
            **options,
        }
    )

    def find(page: np.ndarray) -> Found:
        found = engine(page[:, :, ::-1])
        if found.boxes is None:
            return []
        return list(zip(np.asarray(found.boxes, np.float64), found.scores, strict=True))

    return find


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="ONNX file of a text detector")
    parser.add_argument("data", nargs="+", help="registered sets of text lines")
    parser.add_argument("--most", type=int, help="only the first pages of each set")
    parser.add_argument("--size", type=int, help="longer side of pages for the model")
    parser.add_argument(
        "--rapidocr", nargs="*", default=[], metavar="KEY=VALUE", help="parameters of rapidocr"
    )
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    register_all()
    options = {
        key: yaml.safe_load(value) for key, _, value in (w.partition("=") for w in args.rapidocr)
    }
    finders = {args.model.name: ours(args.model, size=args.size), "rapidocr": rapidocr(options)}
    rows = []
    for name in args.data:
        pages = lines.published(name)[: args.most]
        truth = [
            [(np.asarray(line["polygon"], np.float64), line["ignore"]) for line in page["lines"]]
            for page in pages
        ]
        found = {who: [] for who in finders}
        seconds = dict.fromkeys(finders, 0.0)
        for page in tqdm(pages, name, unit="page"):
            pixels = read_for(page, format="RGB")
            for who, find in finders.items():  # in turns, so that both meet the same load
                start = time.perf_counter()
                found[who].append(find(pixels))
                seconds[who] += time.perf_counter() - start
        for who in finders:
            numbers = document_lines(measure(truth, found[who]))
            numbers.pop("pages")
            rows.append(
                {"data": name, "model": who, "pages": len(pages)}
                | {key: numbers[key] for key in ("hmean", "precision", "recall", "hmean70")}
                | {"seconds_per_page": seconds[who] / len(pages)}
            )
    print(tabulate(rows, headers="keys", floatfmt=".3f"))
    if args.json:
        write_json(args.json, rows)


if __name__ == "__main__":
    main()
