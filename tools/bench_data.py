"""How fast pages are read, made and scored: training loader, page synthesis, COCO evaluation."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from detectron2.data import transforms as T
from tqdm.auto import tqdm

from graphkd.bench.machine import describe_machine, machine_line, milliseconds
from graphkd.commands.bench import whole_numbers
from graphkd.config import get_cfg, load_cfg
from graphkd.data.catalog import register_all, require, training_dicts
from graphkd.data.loader import build_train_loader
from graphkd.data.mapper import PageMapper, read_for
from graphkd.errors import UserError
from graphkd.evaluation.coco import coco_ap
from graphkd.io import write_json
from graphkd.report.tables import plain_table
from graphkd.synthesis import make_page
from graphkd.tasks.base import task_of

SEED = 7
EVALUATED_PAGES = 5000
OBJECTS_A_PAGE = 12
FOUND_A_PAGE = 20
CLASSES = 11
SYNTHESIS_SIDE = 1024


EPILOG = """examples:
  python tools/bench_data.py pages_tiny_train --workers 0,2
  python tools/bench_data.py configs/R50-R18.yaml --workers 0,1,2,4 --json data.json"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code, 2 for a mistake of the user."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("target", metavar="CONFIG|DATASET", help="a run's yaml or a data set name")
    add("overrides", nargs="*", metavar="KEY VALUE", help="keys of CONFIG")
    add("--workers", type=whole_numbers, default=[0, 1, 2], help="loader processes (0,1,2)")
    add("--pages", type=int, default=64, help="timed pages a loader (default 64)")
    add("--evaluated", type=int, default=EVALUATED_PAGES, help="made-up pages to score")
    add("--made", type=int, default=10, help="pages to synthesise (default 10)")
    add("--json", type=Path, metavar="FILE", help="also write the numbers here")
    args = parser.parse_args(argv)
    numbers = {name: getattr(args, name) for name in ("workers", "pages", "evaluated", "made")}
    try:
        result = measure_data(args.target, args.overrides, **numbers)
    except UserError as error:
        print(f"bench_data: {error}", file=sys.stderr)
        return 2
    print(data_table(result))
    if args.json:
        write_json(args.json, result)
    return 0


def data_table(result: dict) -> str:
    """The numbers as text for a terminal."""
    rows = [
        [f"loader, {workers} workers", f"{rate:.2f} pages/s"]
        for workers, rate in result["loader_pages_per_s"].items()
    ]
    rows += [
        ["reading one page", f"{milliseconds(result['page_s'])} ms"],
        ["  of it decoding", f"{100 * result['decode_share']:.0f} %"],
        ["  of it resizing", f"{100 * result['resize_share']:.0f} %"],
        ["page synthesis, one process", f"{result['synthesis_pages_per_s']:.2f} pages/s"],
        [f"COCO evaluation of {result['coco_eval_pages']} pages", f"{result['coco_eval_s']:.2f} s"],
    ]
    return "\n".join([plain_table(rows, ("what", "measured")), machine_line(result["machine"])])


def measure_data(
    target: str,
    overrides: Sequence[str] = (),
    *,
    workers: Sequence[int] = (0, 1, 2),
    pages: int = 64,
    evaluated: int = EVALUATED_PAGES,
    made: int = 10,
) -> dict:
    """Measures everything that happens to pages beside the network.

    Args:
        target: a run's yaml, or the name of a data set (read at Detectron2's default size).
        overrides: KEY VALUE pairs for the yaml.
        workers: loader processes to compare, 0 for none.
        pages: timed pages of every loader, after one untimed batch.
        evaluated: made-up pages for the COCO evaluation.
        made: generated pages.

    Returns:
        `loader_pages_per_s` {workers: rate}; `decode_share` and `resize_share` of reading one page
        without workers, and `page_s` of it; `synthesis_pages_per_s` of one process;
        `coco_eval_s` and `coco_eval_pages`; `settings`, `machine`.

    Raises:
        UserError: no such config or data set, no page, or a number below its least.
    """
    if not workers or min(workers) < 0:
        raise UserError("--workers: name numbers of 0 or more, such as 0,1,2")
    for name, value in (("pages", pages), ("evaluated", evaluated), ("made", made)):
        if value < 1:
            raise UserError(f"--{name} {value}: give 1 or more")
    cfg = _config(target, overrides)
    rates = {count: loader_rate(cfg, workers=count, pages=pages) for count in workers}
    return {
        "loader_pages_per_s": rates,
        **page_shares(cfg, pages=min(pages, 32)),
        "synthesis_pages_per_s": made / _seconds(_make_pages, made),
        "coco_eval_s": evaluation_seconds(evaluated),
        "coco_eval_pages": evaluated,
        "settings": {
            "target": target,
            "overrides": list(overrides),
            "pages": pages,
            "batch": cfg.SOLVER.IMS_PER_BATCH,
            "min_size": list(cfg.INPUT.MIN_SIZE_TRAIN),
            "max_size": cfg.INPUT.MAX_SIZE_TRAIN,
            "synthesis_side": SYNTHESIS_SIDE,
        },
        "machine": describe_machine(),
    }


def loader_rate(cfg, *, workers: int, pages: int) -> float:
    """Pages a second of the training loader, without the wait for its first batch."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATALOADER.NUM_WORKERS = workers
    task = task_of(cfg)
    items = task.training_dicts(cfg)
    mapper, batches = task.mapper(cfg, is_train=True), task.batches(cfg, items, seed=SEED)
    stream = iter(build_train_loader(cfg, items, mapper, batches, start_step=0))
    next(stream)
    count = 0
    with tqdm(total=pages, desc=f"loader, {workers} workers", leave=False) as bar:
        started = time.perf_counter()
        while count < pages:
            batch = len(next(stream))
            count += batch
            bar.update(batch)
        seconds = time.perf_counter() - started
    return count / seconds


def page_shares(cfg, *, pages: int) -> dict[str, float]:
    """Seconds of reading one page, and the shares of decoding and of resizing in them."""
    dicts = training_dicts(cfg.DATASETS.TRAIN, filter_empty=False)
    mapper = PageMapper(cfg, is_train=True)
    np.random.seed(SEED)
    decoding = resizing = whole = 0.0
    for entry in tqdm(dicts[:pages], desc="one page", leave=False):
        started = time.perf_counter()
        image = read_for(entry, format=mapper.image_format)
        decoded = time.perf_counter()
        mapper.augmentations(T.AugInput(image))
        resized = time.perf_counter()
        mapper(entry)
        whole += time.perf_counter() - resized
        decoding += decoded - started
        resizing += resized - decoded
    return {
        "page_s": whole / len(dicts[:pages]),
        "decode_share": decoding / whole,
        "resize_share": resizing / whole,
    }


def evaluation_seconds(pages: int) -> float:
    """Seconds of COCO AP on made-up results of so many pages, 12 objects and 20 finds a page."""
    truth, results = made_up_results(pages)
    return _seconds(coco_ap, truth, results)


def made_up_results(pages: int, *, seed: int = SEED) -> tuple[dict, list[dict]]:
    """Ground truth and results that find most objects a little beside their place."""
    random = np.random.default_rng(seed)
    sides = random.uniform(20, 300, (pages, OBJECTS_A_PAGE, 2))
    boxes = np.concatenate([random.uniform(0, 700, sides.shape), sides], 2)
    kinds = random.integers(0, CLASSES, (pages, OBJECTS_A_PAGE))
    moved = boxes + random.normal(0, 6, boxes.shape)
    moved[..., 2:] = moved[..., 2:].clip(1)
    wild = np.concatenate([random.uniform(0, 700, (pages, FOUND_A_PAGE, 2))] * 2, 2) + 1
    annotations, results = [], []
    for page in range(pages):
        for place, (box, kind) in enumerate(zip(boxes[page], kinds[page], strict=True)):
            row = {"image_id": page, "category_id": int(kind)}
            annotations.append(
                {
                    **row,
                    "id": len(annotations) + 1,
                    "bbox": box.tolist(),
                    "area": float(box[2] * box[3]),
                    "iscrowd": 0,
                }
            )
            score = float(random.uniform(0.4, 1))
            results.append({**row, "bbox": moved[page, place].tolist(), "score": score})
        for place in range(FOUND_A_PAGE - OBJECTS_A_PAGE):
            kind, score = int(random.integers(CLASSES)), float(random.uniform(0.05, 0.6))
            row = {"image_id": page, "category_id": kind, "score": score}
            results.append({**row, "bbox": wild[page, place].tolist()})
    images = [{"id": page, "width": 1000, "height": 1000} for page in range(pages)]
    categories = [{"id": kind, "name": f"class {kind}"} for kind in range(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}, results


def _make_pages(pages: int) -> None:
    for index in tqdm(range(pages), desc="making pages", leave=False):
        make_page(SEED, index, long_side=SYNTHESIS_SIDE)


def _seconds(job: Callable, *args: object) -> float:
    started = time.perf_counter()
    job(*args)
    return time.perf_counter() - started


def _config(target: str, overrides: Sequence[str]):
    register_all()
    if target.lower().endswith((".yaml", ".yml")):
        cfg = load_cfg(target, overrides)
        if not cfg.DATASETS.TRAIN:
            raise UserError(f"{target}: DATASETS.TRAIN is empty; name a data set")
        return cfg
    if overrides:
        raise UserError("KEY VALUE pairs go with a config, not with the name of a data set")
    require(target)
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = (target,)
    cfg.SOLVER.IMS_PER_BATCH = 2
    return cfg


if __name__ == "__main__":
    sys.exit(main())
