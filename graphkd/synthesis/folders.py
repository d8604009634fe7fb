"""Generated pages as COCO folders (splits, reuse), and contact sheets to look at."""

import contextlib
import json
import logging
import math
import multiprocessing
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from graphkd.errors import UserError
from graphkd.synthesis.page import (
    CLASSES_5,
    CLASSES_11,
    MadePage,
    MadeRegion,
    five_classes,
    make_page,
)

GENERATOR = "graphkd pages"
VERSION = 4  # raise it whenever the same seed gives other pages
DEFAULT_SCAN = 0.3

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """How many pages of which seed, and their longer side in pixels."""

    pages: int
    seed: int
    long_side: int


SPLITS: dict[str, dict[str, Split]] = {
    "pages": {
        "train": Split(2000, 1, 1024),
        "val": Split(200, 2, 1024),
        "test": Split(300, 3, 1024),
    },
    "pages_mini": {
        "train": Split(400, 1, 384),
        "val": Split(60, 2, 384),
        "test": Split(100, 3, 384),
    },
    "pages_tiny": {
        "train": Split(1200, 1, 384),
        "val": Split(150, 2, 384),
        "test": Split(200, 3, 384),
    },
}
"""Splits of the generated data sets. A page draws from [seed, index], so splits never share a page;
`pages_mini` is the beginning of `pages_tiny`."""


def generate(
    folder: Path,
    *,
    pages: int,
    seed: int,
    long_side: int = 1024,
    scan: float = DEFAULT_SCAN,
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Write `pages` generated pages with their annotations into a new folder.

    The folder holds `images/000000.jpg ...`, `annotations_11.json` (classes of DocLayNet) and
    `annotations_5.json` (classes of PubLayNet, see `five_classes`) in COCO form; image ids count
    from 1. Everything is written to a hidden folder beside it, which gets its name only when
    complete.

    Args:
        folder: must not exist, or be empty.
        pages: how many, from index 0; at least 1.
        seed: the series; see `make_page`.
        long_side: pixels of the longer side, at least 64.
        scan: probability (0 to 1) that a page looks scanned.
        workers: processes; None for one a core. The pages don't depend on it.
        progress: show a progress bar.

    Raises:
        UserError: the folder is not empty, or an argument is out of range.
    """
    folder = Path(folder)
    if pages < 1 or seed < 0 or long_side < 64 or not 0 <= scan <= 1:
        raise UserError(
            f"cannot generate pages={pages} seed={seed} long_side={long_side} scan={scan}: "
            "need pages >= 1, seed >= 0, long_side >= 64 and scan from 0 to 1"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not empty: choose another folder or delete it")
    making = folder.with_name(f".{folder.name}.making-{uuid.uuid4().hex[:8]}")
    try:
        (making / "images").mkdir(parents=True)
        info = _info(pages=pages, seed=seed, long_side=long_side, scan=scan)
        write = partial(_write_page, making / "images", seed=seed, long_side=long_side, scan=scan)
        bar = partial(
            tqdm, total=pages, desc=f"pages {folder.name}", unit="page", disable=not progress
        )
        with _mapper(pages, workers) as mapper:
            records = list(bar(mapper(write, range(pages))))
        for name, classes in (
            ("annotations_5.json", CLASSES_5),
            ("annotations_11.json", CLASSES_11),
        ):
            translate = five_classes if classes is CLASSES_5 else tuple
            (making / name).write_text(json.dumps(_coco(info, classes, records, translate)))
        if folder.exists():
            folder.rmdir()
        making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def ensure(root: Path, name: str, split: str) -> Path:
    """The folder of a split, generated where it is missing or was made with other arguments.

    Safe when several processes ask at once: one makes it, the others wait.

    Args:
        root: the folder of all data sets ($DETECTRON2_DATASETS).
        name: `pages`, `pages_tiny` or `pages_mini`.
        split: `train`, `val` or `test`.

    Returns:
        root/name/split.

    Raises:
        UserError: no such set or split, or the folder holds something this generator did not make.
    """
    if name not in SPLITS or split not in SPLITS[name]:
        known = ", ".join(f"{n}/{s}" for n in SPLITS for s in SPLITS[n])
        raise UserError(f"no generated split {name}/{split}: choose one of {known}")
    plan = SPLITS[name][split]
    folder = Path(root) / name / split
    wanted = _info(pages=plan.pages, seed=plan.seed, long_side=plan.long_side, scan=DEFAULT_SCAN)
    if _made_as(folder) == wanted:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{split}.lock")):
        found = _made_as(folder)
        if found == wanted:
            return folder
        for left in folder.parent.glob(f".{split}.making-*"):
            shutil.rmtree(left)  # left by a killed run; nobody else works here under the lock
        if found is not None:
            logger.info("%s: made as %s, generating it anew as %s", folder, found, wanted)
            shutil.rmtree(folder)
        else:
            logger.info("generating %d pages into %s", plan.pages, folder)
        generate(folder, pages=plan.pages, seed=plan.seed, long_side=plan.long_side)
    return folder


def _info(**arguments: float) -> dict:
    return {
        "description": "generated document pages",
        "generator": GENERATOR,
        "version": VERSION,
        **arguments,
    }


def _made_as(folder: Path) -> dict | None:
    """The info block of a generated folder, None where there is nothing, UserError for the rest."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        info = json.loads((folder / "annotations_11.json").read_text())["info"]
        if info["generator"] == GENERATOR:
            return info
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{folder} holds something else than generated pages: move it away")


@contextlib.contextmanager
def _mapper(pages: int, workers: int | None) -> Iterator:
    """A map function over this many processes, in order."""
    count = min(workers or os.cpu_count() or 1, pages)
    if count == 1:
        yield map
        return
    # Forked workers need no importable main module; elsewhere than on Linux forking is not safe.
    method = "fork" if sys.platform == "linux" else "spawn"
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context(method)) as pool:
        try:
            yield partial(pool.map, chunksize=4)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_page(
    images: Path, index: int, *, seed: int, long_side: int, scan: float
) -> tuple[str, int, int, tuple[MadeRegion, ...]]:
    """Make and store one page; returns file name, width, height and regions."""
    page = make_page(seed, index, long_side=long_side, scan=scan)
    name = f"{index:06d}.jpg"
    page.image.save(images / name, quality=page.quality)
    return name, page.image.width, page.image.height, page.regions


def _coco(info: dict, classes: tuple[str, ...], records: list, translate) -> dict:
    """The COCO dictionary of all records in the given classes."""
    images, annotations = [], []
    for number, (name, width, height, regions) in enumerate(records, start=1):
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for region in translate(regions):
            x0, y0, x1, y1 = region.box
            wide, high = round(x1 - x0, 2), round(y1 - y0, 2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": classes.index(region.name) + 1,
                    "bbox": [x0, y0, wide, high],
                    "area": round(wide * high, 2),
                    "iscrowd": 0,
                    "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
                }
            )
    categories = [
        {"id": i, "name": name, "supercategory": "layout"}
        for i, name in enumerate(classes, start=1)
    ]
    return {"info": info, "categories": categories, "images": images, "annotations": annotations}


COLORS = (
    "#e6194b", "#9a6324", "#f032e6", "#3cb44b", "#808080", "#4d4d4d",
    "#f58231", "#4363d8", "#911eb4", "#0a9396", "#c9a400",
)  # fmt: skip


def draw_boxes(page: MadePage, *, classes: int = 11) -> Image.Image:
    """The page image with every region outlined in the colour of its class (of 11 or 5)."""
    names = CLASSES_5 if classes == 5 else CLASSES_11
    regions = five_classes(page.regions) if classes == 5 else page.regions
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
    pad, line = 12, 30
    # Below each column of pages is room for three names.
    a_line = min(len(names), 3 * columns)
    legend = math.ceil(len(names) / a_line) * line + pad
    size = (columns * (cell + pad) + pad, rows * (cell + pad) + pad + legend)
    sheet = Image.new("RGB", size, "#d0d0d0")
    for number in range(pages):
        image = draw_boxes(make_page(seed, number, long_side=cell), classes=classes)
        x = pad + number % columns * (cell + pad) + (cell - image.width) // 2
        y = pad + number // columns * (cell + pad) + (cell - image.height) // 2
        sheet.paste(image, (x, y))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    for number, (name, color) in enumerate(zip(names, COLORS, strict=False)):
        x = pad + number % a_line * (sheet.width - pad) // a_line
        y = sheet.height - legend + number // a_line * line
        draw.rectangle((x, y + 3, x + 18, y + 19), outline=color, width=4)
        draw.text((x + 25, y), name, fill="black", font=font)
    return sheet
