"""Folders of generated pages, scenes and lines: writing, splits, reuse."""

import contextlib
import json
import logging
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from tqdm import tqdm

from graphkd.errors import UserError
from graphkd.io import write_text
from graphkd.synthesis.line_folders import TSV, LineSplit, generate_lines, line_info
from graphkd.synthesis.making import mapper, new_folder
from graphkd.synthesis.page import (
    CLASSES_5,
    CLASSES_11,
    MadeLine,
    MadeRegion,
    five_classes,
    make_page,
)
from graphkd.synthesis.scenes import make_scene

VERSION = 4  # raise it whenever the same seed gives other pages
SCENES_VERSION = 1  # the same for scenes
DEFAULT_SCAN = 0.3
LINES = "lines.jsonl"

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
"""Splits of the generated pages. A page draws from [seed, index], so splits never share a page;
`pages_mini` is the beginning of `pages_tiny`."""

SCENES: dict[str, Split] = {
    "train": Split(3000, 11, 640),
    "val": Split(200, 12, 640),
    "test": Split(300, 13, 640),
}

CROPS: dict[str, LineSplit] = {
    "train": LineSplit(20000, 21),
    "val": LineSplit(1000, 22),
    "test": LineSplit(2000, 23),
}
"""Splits of the generated pictures of single lines."""


class Record(NamedTuple):
    """What is known about one image: its path in the folder, its size and what is on it."""

    name: str
    width: int
    height: int
    regions: tuple[MadeRegion, ...]
    lines: tuple[MadeLine, ...]


def generate(
    folder: Path,
    *,
    pages: int,
    seed: int,
    long_side: int = 1024,
    scan: float | None = DEFAULT_SCAN,
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Writes generated pages or scenes with their annotations into a new folder.

    The folder holds `images/000000.jpg ...` and `lines.jsonl`, a line of JSON per image with its
    text lines (polygon, text, ignore). Pages also have `annotations_11.json` (classes of DocLayNet)
    and `annotations_5.json` (classes of PubLayNet, see `five_classes`) in COCO form, where image
    ids count from 1; scenes have `info.json`. Everything is written to a hidden folder beside it,
    which gets its name only when complete.

    Args:
        folder: must not exist, or be empty.
        pages: how many images, from index 0; at least 1.
        seed: the series; see `make_page` and `make_scene`.
        long_side: pixels of the longer side, at least 64.
        scan: probability (0 to 1) that a page looks scanned; None for scenes instead of pages.
        workers: processes; None for one per core. The images do not depend on it.
        progress: show a progress bar.

    Raises:
        UserError: the folder is not empty, or an argument is out of range.
    """
    folder = Path(folder)
    if pages < 1 or seed < 0 or long_side < 64 or not 0 <= (scan or 0.0) <= 1:
        raise UserError(
            f"cannot generate pages={pages} seed={seed} long_side={long_side} scan={scan}: "
            "need pages >= 1, seed >= 0, long_side >= 64 and scan from 0 to 1"
        )
    info = _info(Split(pages, seed, long_side), scan)
    with new_folder(folder) as making:
        (making / "images").mkdir()
        records = _make_all(info, making, workers=workers, progress=progress)
        if scan is None:
            (making / "info.json").write_text(json.dumps({"info": info}))
        else:
            five, eleven = _coco(info, CLASSES_5, records), _coco(info, CLASSES_11, records)
            (making / "annotations_5.json").write_text(json.dumps(five))
            (making / "annotations_11.json").write_text(json.dumps(eleven))
        _write_lines(making, records)


def ensure(root: Path, name: str, split: str) -> Path:
    """The folder of a split, generated where it is missing or was made with other arguments.

    Safe when several processes ask at once: one makes it, the others wait.

    Args:
        root: the folder of all data sets ($DETECTRON2_DATASETS).
        name: `pages`, `pages_tiny`, `pages_mini`, `scenes` or `lines`.
        split: `train`, `val` or `test`.

    Returns:
        root/name/split.

    Raises:
        UserError: no such set or split, or the folder holds something this generator did not make.
    """
    sets = {**SPLITS, "scenes": SCENES, "lines": CROPS}
    if name not in sets or split not in sets[name]:
        known = ", ".join(f"{n}/{s}" for n in sets for s in sets[n])
        raise UserError(f"no generated split {name}/{split}: choose one of {known}")
    plan, scan = sets[name][split], None if name == "scenes" else DEFAULT_SCAN
    folder = Path(root) / name / split
    wanted = line_info(plan) if name == "lines" else _info(plan, scan)
    labels = folder / (TSV if name == "lines" else LINES)
    if _made_as(folder) == wanted and labels.is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{split}.lock")):
        found = _made_as(folder)
        if found == wanted:
            if not labels.is_file():
                # Made before pages had lines. A run may be reading the images, so they stay.
                logger.info("%s: adding the text lines of its pages", folder)
                _write_lines(folder, _make_all(wanted, None))
            return folder
        for left in folder.parent.glob(f".{split}.making-*"):
            shutil.rmtree(left)  # left by a killed run; nobody else works here under the lock
        if found is not None:
            logger.info("%s: made as %s, generating it anew as %s", folder, found, wanted)
            shutil.rmtree(folder)
        else:
            logger.info("generating into %s: %s", folder, wanted)
        if name == "lines":
            generate_lines(folder, **asdict(plan))
        else:
            generate(folder, scan=scan, **asdict(plan))
    return folder


def _info(plan: Split, scan: float | None) -> dict:
    """What is generated and how; a folder with the same values holds the same images."""
    if scan is None:
        what = {"description": "generated scenes", "generator": "graphkd scenes"}
        return {**what, "version": SCENES_VERSION, **asdict(plan)}
    what = {"description": "generated document pages", "generator": "graphkd pages"}
    return {**what, "version": VERSION, **asdict(plan), "scan": scan}


def _made_as(folder: Path) -> dict | None:
    """The info block of a generated folder, None where there is nothing, UserError for the rest."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    for name in ("annotations_11.json", "info.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            info = json.loads((folder / name).read_text())["info"]
            if info["generator"] in ("graphkd pages", "graphkd scenes", "graphkd lines"):
                return info
    raise UserError(f"{folder} holds something else than generated images: move it away")


def _make_all(
    info: dict, folder: Path | None, *, workers: int | None = None, progress: bool = True
) -> list[Record]:
    """Makes the images that `info` describes, and writes them below `folder` unless it is None."""
    count = info["pages"]
    write = partial(_write_page, folder, info)
    with mapper(count, workers) as run:
        return list(tqdm(run(write, range(count)), total=count, unit="page", disable=not progress))


def _write_page(folder: Path | None, info: dict, index: int) -> Record:
    """Makes one image, and writes it below `folder` unless that is None."""
    seed, long_side = info["seed"], info["long_side"]
    if "scan" in info:
        page = make_page(seed, index, long_side=long_side, scan=info["scan"])
    else:
        page = make_scene(seed, index, long_side=long_side)
    name = f"images/{index:06d}.jpg"
    if folder is not None:
        page.image.save(folder / name, quality=page.quality)
    return Record(name, *page.image.size, page.regions, page.lines)


def _write_lines(folder: Path, records: list[Record]) -> None:
    """Writes the text lines of all images in the hub format."""
    rows = [
        {
            "path": record.name,
            "width": record.width,
            "height": record.height,
            "lines": [asdict(line) for line in record.lines],
        }
        for record in records
    ]
    write_text(folder / LINES, "".join(json.dumps(row) + "\n" for row in rows))


def _coco(info: dict, classes: tuple[str, ...], records: list[Record]) -> dict:
    """The COCO dictionary of all records in the given classes."""
    images, annotations = [], []
    for number, record in enumerate(records, start=1):
        size = {"width": record.width, "height": record.height}
        images.append({"id": number, "file_name": record.name.removeprefix("images/"), **size})
        for region in five_classes(record.regions) if classes == CLASSES_5 else record.regions:
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
