"""Scores a model of graphkd (ONNX) and others on the same data in one run, on one core.

python tools/rivals.py lines.onnx page_lines_test sroie_test --json rivals.json
python tools/rivals.py text.onnx lines_print_test sroie_lines_test --most 500 --json rivals.json

Others: rapidocr (its detector or its recogniser), and for texts tesseract where it is installed.
"""

import argparse
import random
import shutil
import subprocess
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from tabulate import tabulate
from tqdm.auto import tqdm

from graphkd.data import crops, lines
from graphkd.data.catalog import register_all
from graphkd.data.mapper import read_for
from graphkd.errors import UserError
from graphkd.evaluation.hmean import document_lines, measure
from graphkd.evaluation.reading import count_line, totals
from graphkd.io import write_json
from graphkd.predict.onnx_detector import load_onnx

# An RGB picture (H, W, 3) -> the (polygon, score) of its lines, or its text.
Find = Callable[[np.ndarray], Any]
_THREADS = dict.fromkeys(("intra_op_num_threads", "inter_op_num_threads"), 1)


def ours(path: Path, *, size: int | None) -> tuple[str, Find]:
    """The task of an ONNX file of graphkd, and what it finds on a picture."""
    model = load_onnx(path, device="cpu", threads=1)
    task = model.header.task
    if task == "text_recognition":
        return task, lambda picture: model.detect([model.prepare(picture)])[0].text
    if task != "text_detection":
        raise UserError(f"{path}: there are no rivals for the task {task}")
    if size is not None:
        model.resize = "long", size

    def find(page: np.ndarray) -> list:
        found = model.detect([model.prepare(page)])[0]
        return list(zip(found.polygons, found.scores.tolist(), strict=True))

    return task, find


def rapidocr(task: str, options: dict) -> Find:
    """What rapidocr finds with its own preparation; `options` change its parameters."""
    from rapidocr import RapidOCR

    reads = task == "text_recognition"
    engine = RapidOCR(
        params={
            "Global.use_det": not reads,
            "Global.use_cls": False,
            "Global.use_rec": reads,
            "Global.log_level": "error",
            "Global.text_score": 0.0,
            **{f"EngineConfig.onnxruntime.{key}": value for key, value in _THREADS.items()},
            **options,
        }
    )

    def find(picture: np.ndarray) -> Any:
        picture = picture[:, :, ::-1]
        found = engine(picture, use_det=not reads, use_cls=False, use_rec=reads)
        if reads:
            return found.txts[0] if found.txts else ""
        if found.boxes is None:
            return []
        return list(zip(np.asarray(found.boxes, np.float64), found.scores, strict=True))

    return find


def tesseract(language: str) -> Find:
    """What tesseract reads on a single line."""

    def find(picture: np.ndarray) -> str:
        command = ["tesseract", "-", "-", "--psm", "7", "-l", language]
        sent = cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes()
        done = subprocess.run(command, input=sent, capture_output=True, check=True)
        return done.stdout.decode().strip()

    return find


def detection_row(pages: list[dict], found: list) -> dict:
    """Hmean and the like of one model."""
    truth = [
        [(np.asarray(line["polygon"], np.float64), line["ignore"]) for line in page["lines"]]
        for page in pages
    ]
    numbers = document_lines(measure(truth, found))
    return {key: numbers[key] for key in ("hmean", "precision", "recall", "hmean70")}


def reading_row(items: list[dict], found: list[str]) -> dict:
    """Exact match and CER of one model, also without regard to case and long s."""
    numbers = totals(
        count_line(item["text"], text) for item, text in zip(items, found, strict=True)
    )
    wanted = ("exact", "exact_no_spaces", "exact_folded", "exact_alnum", "CER", "CER_folded")
    return {key: numbers[key] for key in wanted}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("model", type=Path, help="ONNX file of a text detector or of a reader of lines")
    add("data", nargs="+", help="registered sets")
    add("--most", type=int, help="only so many items of each set, drawn with a fixed seed")
    add("--size", type=int, help="longer side of pages for the detector")
    add("--rapidocr", nargs="*", default=[], metavar="KEY=VALUE", help="parameters of rapidocr")
    add("--language", default="fra", help="of tesseract (default: fra)")
    add("--json", type=Path, help="write the numbers here, too")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    register_all()
    options = [word.partition("=") for word in args.rapidocr]
    task, find = ours(args.model, size=args.size)
    reads = task == "text_recognition"
    finders = {
        args.model.name: find,
        "rapidocr": rapidocr(task, {key: yaml.safe_load(value) for key, _, value in options}),
    }
    if reads and shutil.which("tesseract"):
        finders["tesseract"] = tesseract(args.language)
    rows = []
    for name in args.data:
        items = (crops if reads else lines).published(name)
        if args.most is not None and len(items) > args.most:
            items = random.Random(1).sample(items, args.most)
        found = {who: [] for who in finders}
        seconds = dict.fromkeys(finders, 0.0)
        for item in tqdm(items, name):
            pixels = read_for(item, format="RGB")
            for who, each in finders.items():  # in turns, so that all meet the same load
                start = time.perf_counter()
                found[who].append(each(pixels))
                seconds[who] += time.perf_counter() - start
        for who in finders:
            numbers = (reading_row if reads else detection_row)(items, found[who])
            numbers["milliseconds"] = 1000 * seconds[who] / len(items)
            rows.append({"data": name, "model": who, "items": len(items), **numbers})
            if reads:
                rows[-1]["characters that it never writes"] = _unwritten(items, found[who])
    print(tabulate([{k: v for k, v in r.items() if k[:4] != "char"} for r in rows], headers="keys"))
    if args.json:
        write_json(args.json, rows)


def _unwritten(items: list[dict], found: list[str]) -> str:
    """The characters of the truth that a model wrote on none of the lines."""
    truth = {each for item in items for each in unicodedata.normalize("NFC", item["text"])}
    written = {each for text in found for each in unicodedata.normalize("NFC", text)}
    return "".join(sorted(truth - written))


if __name__ == "__main__":
    main()
