"""Bringing published sets that are COCO already into one class order and layout; reads no XML."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphkd.data.check.boxes import as_int
from graphkd.data.check.clean import clean
from graphkd.data.check.document import read_document
from graphkd.data.check.fix import new_folder, write_document
from graphkd.data.check.problems import Problem
from graphkd.data.convert.progress import Stages, silent
from graphkd.data.convert.write import Converted, place_all
from graphkd.data.layouts import DOCLAYNET_CLASSES, HJ_CLASSES, PUBLAYNET_CLASSES
from graphkd.errors import UserError

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class CocoKind:
    """Where a published set keeps its files and where graphkd's catalog expects them."""

    classes: tuple[str, ...]
    jsons: tuple[str, ...]  # patterns below the input, {split} filled in
    out_json: str
    out_images: str


COCO_KINDS: dict[str, CocoKind] = {
    "publaynet": CocoKind(PUBLAYNET_CLASSES, ("{split}.json",), "{split}.json", "{split}"),
    "doclaynet": CocoKind(
        DOCLAYNET_CLASSES, ("COCO/{split}.json", "{split}.json"), "COCO/{split}.json", "PNG"
    ),
    "hj": CocoKind(
        HJ_CLASSES,
        ("annotations/instances_{split}.json", "instances_{split}.json", "{split}.json"),
        "{split}.json",
        "images/{split}",
    ),
}


def convert_coco(
    kind: str,
    source: str | Path,
    out: str | Path,
    *,
    images: str | Path | None = None,
    copy: bool = False,
    stages: Stages = silent,
) -> Converted:
    """Check a published COCO set and write it in the catalog's layout and class order.

    Class names are matched without regard to case, ids become 1..K. Entries of the class list
    that describe whole pages (supercategory "page_type", HJDataset) are left out.

    Args:
        kind: a key of `COCO_KINDS`.
        source: the unpacked set, or one json file.
        out: new folder.
        images: where the images lie, if not beside the json as published.
        copy: copy the images; otherwise they are hard-linked where the disk allows it.
        stages: told of looking at pages and writing images, split by split, while they go on.

    Raises:
        UserError: no json found, unusable json, or classes that are not those of the set.

    """
    layout = COCO_KINDS[kind]
    result = Converted(Path(out), classes=layout.classes)
    new_folder(out).check()
    jsons = _find_jsons(Path(source), layout)
    with new_folder(out) as draft:
        for split, path in jsons.items():
            document = read_document(path)
            result.problems += _order_classes(path, document, layout.classes)
            root = Path(images) if images else _image_root(path, Path(source), split, document)
            with stages(f"{split}: looking at pages", len(document["images"])) as advance:
                cleaned = clean(document, root, advance=advance)
            if cleaned.error is not None or not cleaned.pages:
                first = cleaned.error or cleaned.counted[0]
                raise UserError(f"{path}: nothing usable: {first.line()}")
            result.problems += cleaned.problems
            folder = draft / layout.out_images.format(split=split)
            place_all(cleaned.pages, folder, copy=copy, stages=stages)
            boxes = sum(len(page.annotations) for page in cleaned.pages)
            result.splits[split] = (len(cleaned.pages), boxes)
            written = _rename(cleaned.document(), layout.out_images, split)
            write_document(draft / layout.out_json.format(split=split), written)
    return result


def _rename(document: dict[str, Any], out_images: str, split: str) -> dict[str, Any]:
    """File names relative to the folder that the catalog calls the image root."""
    if out_images == "images/{split}":
        for image in document["images"]:
            image["file_name"] = f"{split}/{image['file_name']}"
    return document


def _find_jsons(source: Path, layout: CocoKind) -> dict[str, Path]:
    if source.is_file():
        return {source.stem: source}
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder")
    found: dict[str, Path] = {}
    for split in _SPLITS:
        candidates = (source / pattern.format(split=split) for pattern in layout.jsons)
        path = next((path for path in candidates if path.is_file()), None)
        if path is not None:
            found[split] = path
    if not found:
        found = {path.stem: path for path in sorted(source.glob("*.json"))}
    if not found:
        wanted = ", ".join(pattern.format(split="train") for pattern in layout.jsons)
        raise UserError(f"{source}: no annotation file in it ({wanted} or any *.json)")
    return found


def _image_root(path: Path, source: Path, split: str, document: dict[str, Any]) -> Path:
    """The folder that holds the first image, of those that published archives use."""
    base = source if source.is_dir() else source.parent
    places = [base / split, base / "PNG", base / "images" / split, base / "images"]
    places += [path.parent / split, path.parent / "images", base]
    names = [image.get("file_name") for image in document["images"][:20]]
    names = [name for name in names if isinstance(name, str) and not Path(name).is_absolute()]
    for place_ in places:
        if any((place_ / name).is_file() for name in names):
            return place_
    looked = ", ".join(str(p) for p in dict.fromkeys(places))
    raise UserError(f"{path}: its images are in none of {looked}; name the folder with --images")


def _order_classes(path: Path, document: dict[str, Any], classes: tuple[str, ...]) -> list[Problem]:
    """Give the document the class list `classes` with ids 1..K, in place.

    Returns:
        The boxes that are left out because no entry of the class list has their id.

    """
    number = {name.casefold(): index for index, name in enumerate(classes, start=1)}
    page_types = [c for c in document["categories"] if c.get("supercategory") == "page_type"]
    regions = [c for c in document["categories"] if c.get("supercategory") != "page_type"]
    new_ids: dict[int, int] = {}
    for category in regions:
        label, old = str(category.get("name")), as_int(category.get("id"))[0]
        if label.casefold() not in number:
            raise UserError(f"{path}: class {label!r} is none of {', '.join(classes)}")
        if old is None or old in new_ids:
            raise UserError(
                f"{path}: category id {category.get('id')!r} is unusable or given twice"
            )
        new_ids[old] = number[label.casefold()]
    if len(set(new_ids.values())) != len(new_ids):
        raise UserError(f"{path}: two categories have the same name")
    document["categories"] = [
        {"id": index, "name": name} for index, name in enumerate(classes, start=1)
    ]
    no_boxes = {as_int(category.get("id"))[0] for category in page_types}
    return _renumber_boxes(document, new_ids, no_boxes)


def _renumber_boxes(
    document: dict[str, Any], new_ids: dict[int, int], no_boxes: set[int | None]
) -> list[Problem]:
    names = {as_int(image.get("id"))[0]: image.get("file_name") for image in document["images"]}
    kept, problems = [], []
    for annotation in document["annotations"]:
        old = as_int(annotation.get("category_id"))[0]
        if old in new_ids:
            annotation["category_id"] = new_ids[old]
            kept.append(annotation)
        elif old is None or old not in no_boxes:
            text = f"category_id {annotation.get('category_id')!r} is not in categories; dropped"
            image_id, number = (
                as_int(annotation.get("image_id"))[0],
                as_int(annotation.get("id"))[0],
            )
            name = names.get(image_id)
            problems.append(Problem("unknown_category", text, name, image_id, number))
    document["annotations"] = kept
    return problems
