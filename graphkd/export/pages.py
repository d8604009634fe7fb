"""The pages and lines on which exported models are compared and calibrated."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from graphkd.data.catalog import ensure_registered, require
from graphkd.data.images import ImageProblem, decode_test, read_page
from graphkd.data.mapper import read_for
from graphkd.errors import UserError
from graphkd.synthesis import CLASSES_5, CLASSES_11, five_classes, make_page
from graphkd.synthesis.lines import make_line

_PICTURES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pages:
    """Pages that are read one by one.

    Attributes:
        source: where they come from, for messages.
        truth: data set dicts (image_id, height, width, and annotations, lines or a text) in the
            order of the pages; None where nothing is known.
        readers: one function per page that returns (H, W, 3) uint8 RGB pixels.
    """

    source: str
    truth: tuple[dict, ...] | None
    readers: tuple[Callable[[], np.ndarray], ...]

    def __len__(self) -> int:
        return len(self.readers)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (read() for read in self.readers)


def named_pages(name: str, *, classes: Sequence[str] | None, most: int) -> Pages:
    """The pages of a folder of images, or of a registered data set.

    Args:
        name: the folder or the data set. A folder has no ground truth, and images that cannot be
            read are skipped with a warning.
        classes: the classes of the detector; a data set must have the same. None for text
            recognisers, which need a set of lines.
        most: largest number of pages; of more pages, evenly spread ones are used.

    Raises:
        UserError: there is no such folder or data set, it has no pages, or other classes.
    """
    if Path(name).is_dir():
        files = sorted(p for p in Path(name).iterdir() if p.suffix.lower() in _PICTURES)
        if not files:
            raise UserError(f"{name}: no pictures in this folder ({', '.join(sorted(_PICTURES))})")
        whole = [file for file in _evenly(files, most) if _is_whole(file)]
        if not whole:
            raise UserError(f"{name}: none of the pictures in this folder can be read")
        return Pages(name, None, tuple(partial(_read, file) for file in whole))
    ensure_registered()
    try:
        require(name)
    except UserError as error:
        raise UserError(f"{name}: no folder of this name, and {error}") from error
    dicts = _evenly(DatasetCatalog.get(name), most)
    if not dicts:
        raise UserError(f"data set {name} has no pages")
    metadata = MetadataCatalog.get(name)
    kind = metadata.get("kind")
    if (classes is None) != (kind == "crops"):
        raise UserError(
            f"data set {name} holds {'single lines' if kind == 'crops' else 'pages'}, which is not "
            "what the model takes; name another one or a folder"
        )
    readers = tuple(partial(read_for, item, format="RGB") for item in dicts)
    pages = Pages(f"data set {name}", tuple(dicts), readers)
    if classes is None:
        return pages
    found = ("text",) if kind == "lines" else tuple(metadata.thing_classes)
    if found != tuple(classes):
        raise UserError(
            f"data set {name} has the classes {', '.join(found)}, "
            f"the model {', '.join(classes)}; name another one or a folder"
        )
    return pages


def generated_pages(*, classes: Sequence[str], count: int, seed: int, long_side: int) -> Pages:
    """Generated pages, with ground truth if the detector has one of their class lists.

    Args:
        classes: of the detector; those of a text detector are `text` alone.
        count: number of pages.
        seed: seed of the pages.
        long_side: longer side in pixels.
    """
    made = [make_page(seed, index, long_side=long_side) for index in range(count)]
    translate = {CLASSES_5: five_classes, CLASSES_11: tuple}.get(tuple(classes))
    truth = None
    if translate is not None:
        truth = tuple(
            {
                "image_id": number,
                "width": page.image.width,
                "height": page.image.height,
                "annotations": [
                    {
                        "bbox": list(region.box),
                        "bbox_mode": BoxMode.XYXY_ABS,
                        "category_id": list(classes).index(region.name),
                    }
                    for region in translate(page.regions)
                ],
            }
            for number, page in enumerate(made)
        )
    elif tuple(classes) == ("text",):
        truth = tuple(
            {
                "image_id": number,
                "width": page.image.width,
                "height": page.image.height,
                "lines": [asdict(line) for line in page.lines],
            }
            for number, page in enumerate(made)
        )
    readers = tuple(partial(np.asarray, page.image) for page in made)
    return Pages("generated pages", truth, readers)


def generated_crops(*, characters: Sequence[str], count: int, seed: int) -> Pages:
    """Generated text lines with their texts.

    Args:
        characters: of the recogniser's charset.
        count: number of lines.
        seed: seed of the lines.
    """
    made = [make_line(seed, index, characters=tuple(characters)) for index in range(count)]
    truth = tuple({"image_id": number, "text": line.text} for number, line in enumerate(made))
    return Pages("generated lines", truth, tuple(partial(rgb, line.image) for line in made))


def rgb(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) of a picture (H, W) or (H, W, 3)."""
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def _is_whole(path: Path) -> bool:
    try:
        decode_test(path)
    except ImageProblem as problem:
        logger.warning("not read: %s: %s", path, problem)
        return False
    return True


def _read(path: Path) -> np.ndarray:
    try:
        return read_page(path)
    except ImageProblem as error:
        raise UserError(f"{path}: {error}") from error


def _evenly(items: Sequence, most: int) -> list:
    count = min(len(items), most)
    return [items[index * len(items) // count] for index in range(count)]
