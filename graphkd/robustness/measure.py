"""Scores layout detectors on corrupted pages. All detectors see the same corrupted pages."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.structures import BoxMode
from tqdm.auto import tqdm

from graphkd.data.catalog import classes_of
from graphkd.data.coco import read_categories
from graphkd.data.mapper import read_for
from graphkd.data.published import load_published
from graphkd.errors import UserError
from graphkd.evaluation.coco import coco_ap, ground_truth, result_rows
from graphkd.io import file_digest
from graphkd.modelfile import read_model
from graphkd.predict.detector import Detector
from graphkd.predict.torch_detector import TorchDetector
from graphkd.robustness.corruptions import VERSION, Corrupted, corrupt, moved_box
from graphkd.robustness.results import CLEAN, Record, cell_name
from graphkd.tasks.layout import TASK

_SAME = 2.0  # largest difference in pixels between a box and the extent of its polygon


@dataclass(frozen=True)
class Contender:
    """A detector with the name of its column and the checksum of its file."""

    name: str
    checksum: str
    detector: Detector


@dataclass(frozen=True)
class PageSet:
    """Annotated pages: name and classes of the data set, and Detectron2's dicts."""

    name: str
    classes: tuple[str, ...]
    dicts: list[dict]

    def thinned(self, limit: int | None) -> "PageSet":
        """`limit` pages, evenly spread over the set; all for None or a larger number."""
        count = len(self.dicts)
        if limit is None or limit >= count:
            return self
        return PageSet(
            self.name, self.classes, [self.dicts[i * count // limit] for i in range(limit)]
        )

    @property
    def checksum(self) -> str:
        """A checksum of all names, sizes, boxes and classes."""
        content = [
            [p["image_id"], Path(p["file_name"]).name, p["width"], p["height"]]
            + [[a["bbox"], a["category_id"], a.get("iscrowd", 0)] for a in p["annotations"]]
            for p in self.dicts
        ]
        return f"{zlib.crc32(json.dumps([self.classes, content], default=str).encode()):08x}"


def load_pages(data: str, images: Path | None = None) -> PageSet:
    """The pages of a registered data set, or of a COCO json with its image folder.

    Raises:
        UserError: an unknown name or an unusable file.
    """
    if images is None and not data.endswith(".json"):
        classes = classes_of(data)
        return PageSet(data, classes, DatasetCatalog.get(data))
    if images is None:
        raise UserError(f"{data}: name the folder of its images with --images")
    if not images.is_dir():
        raise UserError(f"{images}: no such folder; --images is the folder of the page images")
    classes = tuple(read_categories(data).values())
    return PageSet(Path(data).name, classes, load_published(data, images, classes))


def load_contenders(
    weights: Sequence[str], *, classes: tuple[str, ...], data: str, device: str = "cpu"
) -> list[Contender]:
    """Loads the detectors.

    Args:
        weights: `path` or `name=path`. The default name is that of the file, or that of the folder
            for a run's `model_final.pth`.
        classes: the classes of the data set.
        data: the name of the data set, for messages.
        device: a torch device.

    Raises:
        UserError: an unusable file, another task, two detectors with one name, or a detector whose
            classes differ from those of the data.
    """
    contenders = []
    for name, path in map(_named, weights):
        if name in (contender.name for contender in contenders):
            raise UserError(f"two models are named {name}; give one another name: NAME={path}")
        stored = read_model(path)
        if stored.header.task != TASK.name:
            raise UserError(
                f"{path}: its task is {stored.header.task}, but robust measures only {TASK.name} "
                "models"
            )
        if stored.classes != classes:
            raise UserError(
                f"{path} finds {', '.join(stored.classes)}, but the classes of {data} are "
                f"{', '.join(classes)}; use data with the model's classes in the same order"
            )
        detector = TorchDetector(stored, device=device)
        contenders.append(Contender(name, file_digest(path)[:16], detector))
    return contenders


def settings_of(pages: PageSet, *, seed: int) -> dict:
    """The settings that all numbers of a record depend on, besides the weights."""
    return {
        "data": pages.name,
        "pages": len(pages.dicts),
        "data checksum": pages.checksum,
        "seed": seed,
        # Earlier versions called it this; their files stay readable.
        "version of the damage": VERSION,
    }


def measure(
    contenders: Sequence[Contender],
    pages: PageSet,
    *,
    kinds: Sequence[str],
    severities: Sequence[int],
    seed: int,
    record: Record,
) -> None:
    """Measures the missing cells of a record: the metric of every detector on clean pages and for
    every corruption.

    Args:
        contenders: the detectors, with the names of the record; at least one.
        pages: at least one page.
        kinds: kinds of corruption.
        severities: the severities of each kind.
        seed: seed of the corruptions.
        record: the record, which is saved after every cell, so that a stopped run can be continued.

    Raises:
        UserError: a page cannot be read.
    """
    corruptions = [None, *((kind, severity) for kind in kinds for severity in severities)]
    cells = {cell_name(*each) if each else CLEAN: each for each in corruptions}
    todo = {name: each for name, each in cells.items() if record.missing(name)}
    with tqdm(total=len(todo) * len(pages.dicts), unit=" pages", dynamic_ncols=True) as bar:
        for name, corruption in todo.items():
            bar.set_description(name)
            missing = [c for c in contenders if c.name in record.missing(name)]
            values = _cell(missing, pages, corruption, seed, bar)
            record.add(name, {each: found[record.metric.name] for each, found in values.items()})


def _cell(
    contenders: Sequence[Contender],
    pages: PageSet,
    corruption: tuple[str, int] | None,
    seed: int,
    bar: tqdm,
) -> dict[str, dict]:
    """The COCO numbers of each detector on all pages with one corruption; None for clean pages."""
    truths: list[dict] = []
    results: Mapping[str, list[dict]] = {contender.name: [] for contender in contenders}
    for page in pages.dicts:
        image, truth = read_for(page, format="RGB"), page
        if corruption is not None:
            kind, severity = corruption
            corrupted = corrupt(image, kind=kind, severity=severity, seed=seed)
            image, truth = corrupted.image, moved_page(page, corrupted)
        truths.append(truth)
        for contender in contenders:
            (found,) = contender.detector.detect([contender.detector.prepare(image)])
            results[contender.name] += result_rows(page["image_id"], *found)
        bar.update()
    wanted = ground_truth(truths, pages.classes)
    return {name: coco_ap(wanted, found) for name, found in results.items()}


def moved_page(page: dict, corrupted: Corrupted) -> dict:
    """The data set dict of the corrupted page, with its size and boxes.

    The new box is that of the object's moved polygon, or of the moved box if `outline_of` does not
    use the polygon. Objects that lie outside the corrupted page are left out.
    """
    annotations = []
    for annotation in page["annotations"] if corrupted.moves else ():
        box = moved_box(corrupted, outline_of(annotation))
        if box is not None:
            # Area and polygon are those of the clean page.
            kept = {k: v for k, v in annotation.items() if k not in ("area", "segmentation")}
            annotations.append({**kept, "bbox": list(box), "bbox_mode": BoxMode.XYXY_ABS})
    height, width = corrupted.image.shape[:2]
    moved = annotations if corrupted.moves else page["annotations"]
    return {**page, "height": height, "width": width, "annotations": moved}


def outline_of(annotation: dict) -> np.ndarray:
    """Corners (N, 2) of an object: those of its polygon if it fills the box, else of the box."""
    box = BoxMode.convert(list(annotation["bbox"]), annotation["bbox_mode"], BoxMode.XYXY_ABS)
    x0, y0, x1, y1 = box
    polygons = annotation.get("segmentation")
    # Only a single polygon: several have no common outline.
    if isinstance(polygons, list) and len(polygons) == 1:
        points = np.asarray(polygons[0], dtype=np.float64).reshape(-1, 2)
        extent = [*points.min(axis=0), *points.max(axis=0)]
        if np.abs(np.subtract(extent, box)).max() <= _SAME:
            return points
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=np.float64)


def _named(text: str) -> tuple[str, Path]:
    name, sign, path = text.partition("=")
    # A path may contain "=", too.
    if sign and name and "/" not in name and not Path(text).is_file():
        return name, Path(path)
    path = Path(text)
    generic = path.stem == "model_final" and path.absolute().parent.name
    return (path.absolute().parent.name if generic else path.stem), path
