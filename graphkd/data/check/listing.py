"""The lists of a COCO document: classes, images, boxes by image, numbers read; opens no image."""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from graphkd.data.check.boxes import as_box, as_int
from graphkd.data.check.files import Folder
from graphkd.data.check.problems import Problem


def clean_categories(
    categories: list[dict[str, Any]], found: Callable[[Problem], None]
) -> list[dict[str, Any]]:
    """The class list sorted by id, ids as whole numbers; errors go to `found`."""
    if not categories:
        found(Problem("no_categories", '"categories" is empty: no class to learn'))
    cleaned: dict[int, dict[str, Any]] = {}
    names: dict[str, int] = {}
    for category in categories:
        number, string = as_int(category.get("id"))
        name = category.get("name")
        if number is None:
            found(Problem("bad_id", f"category id {category.get('id')!r} is no whole number"))
            continue
        if not isinstance(name, str) or not name.strip():
            found(Problem("no_categories", f"category {number} has no name"))
            continue
        if not _is_one_line(name):
            text = f"the name of category {number} is no Unicode text of one line: {name!a}"
            found(Problem("no_categories", text))
            continue
        if string:
            found(Problem("numbers_as_strings", f"category id {category['id']!r} is a string"))
        if number in cleaned:
            text = f"category id {number} is both {cleaned[number]['name']!r} and {name!r}"
            found(Problem("duplicate_category", text))
        elif name in names:
            text = f"category {name!r} has the ids {names[name]} and {number}"
            found(Problem("duplicate_category", text))
        cleaned[number] = {**category, "id": number, "name": name}
        names.setdefault(name, number)
    for text in about_twins(names):
        found(Problem("similar_classes", text))
    ids = sorted(cleaned)
    if ids and ids != list(range(1, len(ids) + 1)):
        found(Problem("category_id_gaps", f"class ids are {ids[0]}..{ids[-1]}, not 1..{len(ids)}"))
    return [cleaned[number] for number in ids]


def _is_one_line(text: str) -> bool:
    """False for a lone surrogate, which no file in UTF-8 can hold, and for control characters."""
    return not any(unicodedata.category(c) in ("Cs", "Cc", "Zl", "Zp") for c in text)


def about_twins(names: Iterable[str]) -> list[str]:
    """A sentence for each group of class names that differ only in case or outer blanks."""
    twins: dict[str, list[str]] = defaultdict(list)
    for name in names:
        twins[name.strip().casefold()].append(name)
    return [
        f"{', '.join(map(repr, same))} are {len(same)} classes, though they differ only in case "
        "or blanks"
        for same in twins.values()
        if len(same) > 1
    ]


def clean_images(
    images: list[dict[str, Any]], found: Callable[[Problem], None]
) -> dict[int, dict[str, Any]]:
    if not images:
        found(Problem("no_images", '"images" is empty: the data set has no page'))
    cleaned: dict[int, dict[str, Any]] = {}
    strings = 0
    for image in images:
        number, string = as_int(image.get("id"))
        name = image.get("file_name")
        if number is None:
            found(Problem("bad_id", f"image id {image.get('id')!r} is no whole number", file=name))
            continue
        strings += string
        if number in cleaned:
            other = cleaned[number].get("file_name")
            text = f"image id {number} is given to {other!r} and {name!r}; boxes cannot be told"
            found(Problem("duplicate_image_id", f"{text} apart", file=name, image_id=number))
        cleaned[number] = image
    if strings:
        found(Problem("numbers_as_strings", f"{strings} image ids are strings"))
    return dict(sorted(cleaned.items()))


def group_annotations(
    annotations: list[dict[str, Any]],
    images: dict[int, dict[str, Any]],
    categories: set[int],
    found: Callable[[Problem], None],
) -> dict[int, list[dict[str, Any]]]:
    """Annotations by image id, numbers read, unusable ones dropped."""
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in annotations:
        number, id_string = as_int(annotation.get("id"))
        image_id, image_string = as_int(annotation.get("image_id"))
        category, category_string = as_int(annotation.get("category_id"))
        if image_id not in images:
            text = f"belongs to image {annotation.get('image_id')!r}, which is not listed; dropped"
            found(Problem("orphan_annotation", text, None, image_id, number))
            continue
        name = images[image_id].get("file_name")
        if category not in categories:
            text = f"category_id {annotation.get('category_id')!r} is not in categories; dropped"
            found(Problem("unknown_category", text, name, image_id, number))
            continue
        box, box_string, kind = as_box(annotation.get("bbox"))
        if kind is not None:
            text = f"bbox {str(annotation.get('bbox'))[:80]} is unusable; dropped"
            found(Problem(kind, text, name, image_id, number))
            continue
        if id_string or image_string or category_string or box_string:
            text = "ids or box are written as strings; read as numbers"
            found(Problem("numbers_as_strings", text, name, image_id, number))
        annotation.update(id=number, image_id=image_id, category_id=category, bbox=box)
        groups[image_id].append(annotation)
    return groups


def find_files(
    images: dict[int, dict[str, Any]], root: Path, found: Callable[[Problem], None]
) -> list[tuple[int, Path]]:
    folder = Folder(root)
    files = []
    for image_id, image in images.items():
        path, problem = folder.find(image.get("file_name"))
        if problem is not None:
            found(Problem(problem.kind, problem.message, problem.file, image_id))
        if path is not None:
            if problem is not None:  # found under another name: say the real one from now on
                images[image_id] = {**image, "file_name": path.relative_to(root).as_posix()}
            files.append((image_id, path))
    return files
