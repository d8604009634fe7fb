"""Converts published COCO sets to the class order and the folders of the catalog."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphkd.data.check.boxes import as_int
from graphkd.data.check.document import read_document
from graphkd.data.check.files import Folder
from graphkd.data.check.problems import Problem
from graphkd.data.check.report import write_document
from graphkd.data.convert.write import Converted, place_all
from graphkd.data.layouts import DOCLAYNET_CLASSES, HJ_CLASSES, PUBLAYNET_CLASSES
from graphkd.errors import UserError
from graphkd.io import NewFolder

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class CocoKind:
    """The files of a published set, and the places where graphkd's catalog expects them."""

    classes: tuple[str, ...]
    jsons: tuple[str, ...]  # patterns of paths below the input, with {split}
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
) -> Converted:
    """Writes a published COCO set with the folders and the class order of the catalog.

    The case of class names is ignored, and ids become 1..K. Classes of whole pages (supercategory
    "page_type" in HJDataset) are left out. Boxes do not change, because models are scored on them.

    Args:
        kind: a key of `COCO_KINDS`.
        source: the folder of the unpacked set, or one json file.
        out: the new folder.
        images: the folder of the images, if they are not where the published archive has them.
        copy: copy the images; otherwise they are hard-linked if the disk allows it.

    Raises:
        UserError: there is no json, or it is unusable or has other classes than the set.
    """
    layout = COCO_KINDS[kind]
    result = Converted(Path(out), classes=layout.classes)
    NewFolder(out).check()
    jsons = _find_jsons(Path(source), layout)
    with NewFolder(out) as draft:
        for split, path in jsons.items():
            document = read_document(path)
            result.problems += _order_classes(path, document, layout.classes)
            root = Path(images) if images else _image_root(path, Path(source), split, document)
            found, lost = _images(document, root)
            if not found:
                first = f"the first: {lost[0].line()}" if lost else "no images are listed"
                raise UserError(f"{path}: none of its images can be used; {first}")
            result.problems += lost
            place_all(found, draft / layout.out_images.format(split=split), copy=copy)
            if layout.out_images == "images/{split}":  # names are relative to the folder "images"
                for image in document["images"]:
                    image["file_name"] = f"{split}/{image['file_name']}"
            result.splits[split] = (len(found), len(document["annotations"]))
            write_document(draft / layout.out_json.format(split=split), document)
    return result


def _images(document: dict[str, Any], root: Path) -> tuple[list[tuple[Path, str]], list[Problem]]:
    """(path, name) of the images that exist, and a problem for each of the others, which are
    removed from the document with their boxes.
    """
    folder, found, kept, lost, lost_ids = Folder(root), [], [], [], set()
    for image in document["images"]:
        path, problem = folder.find(image.get("file_name"))
        if path is None:
            lost.append(problem)
            lost_ids.add(str(image.get("id")))
            continue
        image["file_name"] = path.relative_to(root).as_posix()
        found.append((path, image["file_name"]))
        kept.append(image)
    document["images"] = kept
    if lost_ids:
        document["annotations"] = [
            box for box in document["annotations"] if str(box.get("image_id")) not in lost_ids
        ]
    return found, lost


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
    """The first folder, out of those that published archives use, that holds one of the images."""
    base = source if source.is_dir() else source.parent
    places = [base / split, base / "PNG", base / "images" / split, base / "images"]
    places += [path.parent / split, path.parent / "images", base]
    names = [image.get("file_name") for image in document["images"][:20]]
    names = [name for name in names if isinstance(name, str) and not Path(name).is_absolute()]
    for place in places:
        if any((place / name).is_file() for name in names):
            return place
    looked = ", ".join(str(p) for p in dict.fromkeys(places))
    raise UserError(f"{path}: its images are in none of {looked}; name the folder with --images")


def _order_classes(path: Path, document: dict[str, Any], classes: tuple[str, ...]) -> list[Problem]:
    """Changes the document to the class list `classes` with ids 1..K.

    Returns:
        A problem for each box that is left out because its class id does not exist.
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
            text = f"category_id {annotation.get('category_id')!r} is not in categories"
            image_id, number = (
                as_int(annotation.get("image_id"))[0],
                as_int(annotation.get("id"))[0],
            )
            name = names.get(image_id)
            problems.append(Problem("unknown_category", text, name, image_id, number))
    document["annotations"] = kept
    return problems
