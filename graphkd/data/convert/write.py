"""Writes pages that were read from XML files as a COCO data set."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from graphkd.data.check.clean import CleanPage, CleanSet, clean
from graphkd.data.check.files import progress
from graphkd.data.check.problems import Problem
from graphkd.data.check.report import write_document
from graphkd.data.convert.readers import XmlPage
from graphkd.data.convert.split import split_names
from graphkd.errors import UserError
from graphkd.formats.xml import BadFile
from graphkd.io import NewFolder

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2"}


@dataclass
class Converted:
    """The result of a conversion; `splits` maps a split to (number of pages, number of boxes)."""

    out: Path
    splits: dict[str, tuple[int, int]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    problems: list[Problem] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # file and reason, one line each
    remarks: list[str] = field(default_factory=list)  # numbers of zones that were left out
    renamed: list[str] = field(default_factory=list)  # numbers of zones with a new class name

    @property
    def complete(self) -> bool:
        """Whether nothing was left out or corrected."""
        lost = self.left_out or self.remarks
        kept = (p.level == "note" or p.kind == "similar_classes" for p in self.problems)
        return not lost and all(kept)


def convert_xml(
    reader: Callable[[Path], list[XmlPage]],
    source: str | Path,
    out: str | Path,
    *,
    images: str | Path | None = None,
    classes: Sequence[str] | None = None,
    relabel: Callable[[str], str | None] | None = None,
    shares: dict[str, float] | None = None,
    lists: dict[str, set[str]] | None = None,
    group: str = "page",
    seed: int = 0,
    copy: bool = False,
) -> Converted:
    """Converts a folder of XML files (or one file) and their images to COCO.

    Args:
        reader: the function that reads one XML file.
        source: an XML file, or a folder, which is searched with its sub-folders.
        out: the new folder, with OUT/annotations.json or OUT/{split}.json, and OUT/images.
        images: the folder of the images, if they are not in `source`.
        classes: the class names in order; None uses all labels, sorted.
        relabel: label in the source -> class name, or None to leave the zone out.
        shares: shares of train, val (and test); None writes a single annotations.json.
        lists: split -> names of its XML files without suffix, instead of `shares`; other files are
            not read.
        group: see `graphkd.data.convert.split.group_of`.
        seed: another seed gives other splits.
        copy: copy the images; otherwise they are hard-linked if the disk allows it.

    Raises:
        UserError: there is nothing to convert, no image, a label that is not in `classes`, or `out`
            is not empty.
    """
    result = Converted(Path(out))
    NewFolder(out).check()
    files, image_root = _xml_files(Path(source)), Path(images or source)
    if image_root.is_file():
        image_root = image_root.parent
    if lists:
        files = [path for path in files if any(path.stem in names for names in lists.values())]
        if not files:
            raise UserError(f"{source}: no XML file is named in its lists of pages")
    pages = _read(reader, files, image_root, result)
    cleaned = clean(_document(pages, classes, relabel, result), image_root)
    result.problems = cleaned.problems
    if cleaned.error is not None or not cleaned.pages:
        first = cleaned.error or cleaned.counted[0]
        raise UserError(f"{source}: nothing usable: {first.line()}")
    result.classes = tuple(category["name"] for category in cleaned.categories)
    _shorten(cleaned.pages)
    names = [(page.path, page.entry["file_name"]) for page in cleaned.pages]
    with NewFolder(result.out) as draft:
        place_all(names, draft / "images", copy=copy)
        parts = _listed(cleaned, lists) if lists else _parts(cleaned, shares, group, seed)
        for split, part in parts.items():
            write_document(draft / f"{split}.json", part.document())
            result.splits[split] = (len(part.pages), sum(len(p.annotations) for p in part.pages))
    return result


def place_all(images: Sequence[tuple[Path, str]], folder: Path, *, copy: bool) -> None:
    """Places images (path, new name) in `folder`."""
    with progress("writing images", len(images)) as bar:
        for path, name in images:
            _place(path, folder / name, copy=copy)
            bar.update()


def _place(source: Path, target: Path, *, copy: bool) -> None:
    """A hard link where possible and allowed, otherwise a copy."""
    if target.exists():  # listed twice, or shared by two splits
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not copy:
        try:
            os.link(source.resolve(), target)
            return
        except OSError:  # another disk, or a file system without links
            pass
    shutil.copyfile(source, target)


def _shorten(pages: list[CleanPage]) -> None:
    """Removes the leading folders that all image names have in common."""
    folders = [PurePosixPath(page.entry["file_name"]).parent.parts for page in pages]
    shared = len(os.path.commonprefix(folders))
    for page in pages:
        parts = PurePosixPath(page.entry["file_name"]).parts[shared:]
        page.entry["file_name"] = "/".join(parts)


def _xml_files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder")
    files = [p for p in sorted(source.rglob("*")) if p.suffix.lower() == ".xml" and p.is_file()]
    if not files:
        raise UserError(f"{source}: no XML file in it or its sub-folders")
    return files


def _read(
    reader: Callable[[Path], list[XmlPage]],
    files: list[Path],
    image_root: Path,
    result: Converted,
) -> list[tuple[str, XmlPage]]:
    """Pairs of image name (relative to `image_root`) and page; other files go to `left_out`."""
    index = _ImageIndex(image_root)
    claims: dict[Path, list[tuple[Path, XmlPage]]] = {}
    with progress("reading XML", len(files)) as bar:
        for path in files:
            try:
                for page in reader(path):
                    image = index.find(page.image_name, absolute(path))
                    claims.setdefault(image, []).append((path, page))
            except BadFile as error:
                result.left_out.append(f"{path}: {error}")
            bar.update()
    pages = []
    for image, claimants in claims.items():
        # If a folder lacks an image, its XML file finds that of another folder. The nearest file
        # gets the image.
        ranks = [remoteness(image, absolute(path)) for path, _ in claimants]
        owner, page = claimants.pop(ranks.index(min(ranks)))
        name = image.relative_to(index.root).as_posix()
        result.left_out += [f"{path}: {name} has its boxes from {owner}" for path, _ in claimants]
        result.left_out += [f"{owner}: {fault}" for fault in page.faults]
        pages.append((name, page))
    if not pages:
        hint = "" if index.by_name else "; name the folder of the images with --images"
        first = f"; the first: {result.left_out[0]}" if result.left_out else ""
        raise UserError(f"none of {len(files)} XML files can be used{first}{hint}")
    return pages


class _ImageIndex:
    """Finds the image of an XML file by name, then by name without ending, then by the name of the
    XML file.
    """

    def __init__(self, root: Path):
        if not root.is_dir():
            raise UserError(f"{root}: no such folder of images")
        self.by_name: dict[str, list[Path]] = {}
        self.by_stem: dict[str, list[Path]] = {}
        self.root = absolute(root)
        for path in sorted(self.root.rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                self.by_name.setdefault(path.name, []).append(path)
                self.by_stem.setdefault(_stem(path.name), []).append(path)

    def find(self, name: str, xml: Path) -> Path:
        """The image of an XML file.

        Raises:
            BadFile: no image fits, or several fit equally well.
        """
        found = (
            self.by_name.get(name) or self.by_stem.get(_stem(name)) or self.by_stem.get(xml.stem)
        )
        if not found:
            raise BadFile(f"no image {name} found below {self.root}")
        ranks = [remoteness(path, xml) for path in found]
        closest = min(ranks)
        best = [path for path, rank in zip(found, ranks, strict=True) if rank == closest]
        if len(best) > 1:
            listed = ", ".join(path.relative_to(self.root).as_posix() for path in best[:3])
            raise BadFile(f"{len(best)} images may be {name} ({listed}); which one is not clear")
        return best[0]


def absolute(path: Path) -> Path:
    """The path without "..", which would count as a folder; links are not resolved."""
    return Path(os.path.abspath(path))


def remoteness(image: Path, xml: Path) -> tuple[int, int]:
    """A sort key for the distance of two absolute paths; among equal distances, folders of the same
    name come first.
    """
    folders, others = image.parent.parts, xml.parent.parts
    common = len(os.path.commonprefix([folders, others]))
    parallel = len(os.path.commonprefix([folders[::-1], others[::-1]]))
    return len(folders) + len(others) - 2 * common, -parallel


def _stem(name: str) -> str:
    stem = name
    while Path(stem).suffix.lower() in IMAGE_SUFFIXES | {".xml"}:
        stem = Path(stem).stem
    return stem.removeprefix("pc-")


def _document(
    pages: list[tuple[str, XmlPage]],
    classes: Sequence[str] | None,
    relabel: Callable[[str], str | None] | None,
    result: Converted,
) -> dict[str, Any]:
    dropped: Counter[str] = Counter()
    renamed: Counter[tuple[str, str]] = Counter()
    rows: list[tuple[int, str, Any]] = []
    images = []
    for image_id, (name, page) in enumerate(pages, start=1):
        size = {"width": page.width, "height": page.height}
        images.append({"id": image_id, "file_name": name, **size})
        for zone in page.zones:
            label = relabel(zone.label) if relabel is not None else zone.label
            if label is None:
                dropped[zone.label] += 1
            else:
                rows.append((image_id, label, zone))
                renamed[zone.label, label] += zone.label.casefold() != label.casefold()
    found = sorted({label for _, label, _ in rows})
    names = list(classes) if classes is not None else found
    strange = [label for label in found if label not in names]
    if strange:
        raise UserError(f"labels that are not in the class list: {', '.join(strange[:10])}")
    if not names:
        raise UserError("no zone has a label: there is no class to learn")
    result.remarks += [f"{n} zones {label!r} left out" for label, n in sorted(dropped.items())]
    result.renamed += [
        f"{n} zones {old!r} became {new}" for (old, new), n in sorted(renamed.items()) if n
    ]
    unlabelled = sum(page.unlabelled for _, page in pages)
    if unlabelled:
        result.remarks.append(f"{unlabelled} zones without a label or outline left out")
    number = {name: index for index, name in enumerate(names, start=1)}
    annotations = [
        {
            "id": index,
            "image_id": image_id,
            "category_id": number[label],
            "bbox": list(zone.box),
            "iscrowd": 0,
            **({"segmentation": [list(zone.polygon)]} if zone.polygon else {}),
            **({} if zone.difficult is None else {"difficult": int(zone.difficult)}),
        }
        for index, (image_id, label, zone) in enumerate(rows, start=1)
    ]
    categories = [{"id": index, "name": name} for name, index in number.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _parts(
    cleaned: CleanSet, shares: dict[str, float] | None, group: str, seed: int
) -> dict[str, CleanSet]:
    if shares is None:
        return {"annotations": cleaned}
    pages: dict[str, CleanPage] = {page.entry["file_name"]: page for page in cleaned.pages}
    division = split_names(list(pages), shares, rule=group, seed=seed)
    return {
        split: CleanSet(cleaned.categories, [pages[name] for name in names])
        for split, names in division.items()
    }


def _listed(cleaned: CleanSet, lists: dict[str, set[str]]) -> dict[str, CleanSet]:
    """The pages of every list, by the name of their image without suffix."""
    pages = {
        split: [page for page in cleaned.pages if Path(page.entry["file_name"]).stem in names]
        for split, names in lists.items()
    }
    return {split: CleanSet(cleaned.categories, own) for split, own in pages.items() if own}


def voc_lists(source: str | Path) -> dict[str, set[str]]:
    """The splits of a published VOC folder, from its ImageSets/Main; {} for other folders.

    Returns:
        `trainval` and `test`, if they exist, with the names of their pages.
    """
    found = {}
    for split in ("trainval", "test"):
        path = Path(source) / "ImageSets" / "Main" / f"{split}.txt"
        if path.is_file():
            found[split] = set(path.read_text(encoding="utf-8").split())
    return found
