"""Reads a COCO json file, and cleans its lists of classes, images and annotations."""

import json
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from graphkd.data.check.boxes import as_box, as_int
from graphkd.data.check.problems import Problem
from graphkd.errors import UserError


class NotCoco(UserError):
    """The file exists but is no COCO json; the message names the file and the place in it."""


def read_document(json_file: str | Path) -> dict[str, Any]:
    """Reads a COCO json file; a UTF-8 byte order mark is accepted.

    Returns:
        The object in the file. "images", "categories" and "annotations" are lists of dicts;
        "annotations" is empty if the key is missing or null.

    Raises:
        UserError: the file is missing or cannot be opened.
        NotCoco: the content is empty, not UTF-8, not json, or not a COCO object.
    """
    path = Path(json_file)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path or make the data first") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not raw.strip():
        raise NotCoco(f"{path}: the file is empty; export the annotations again")
    document = _parse(path, raw)
    if not isinstance(document, dict):
        kind = "list" if isinstance(document, list) else type(document).__name__
        raise NotCoco(f"{path}: not a COCO file: the top level is a {kind}, not an object")
    for key in ("images", "categories", "annotations"):
        if key == "annotations" and document.get(key) is None:
            document[key] = []
        value = document.get(key)
        if value is None:
            raise NotCoco(f'{path}: not a COCO file: the key "{key}" is missing')
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise NotCoco(f'{path}: not a COCO file: "{key}" is not a list of objects')
    return document


def _parse(path: Path, raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise NotCoco(
            f"{path}: not UTF-8 (byte {error.start}, line {line}); save the file as UTF-8"
        ) from None
    except json.JSONDecodeError as error:
        raise NotCoco(
            f"{path}: not valid json at line {error.lineno}, column {error.colno}: {error.msg}; "
            "the file may be cut off"
        ) from None
    except RecursionError:
        raise NotCoco(f"{path}: not a COCO file: the json is nested too deeply") from None
    except ValueError as error:  # for example a number of thousands of digits
        raise NotCoco(f"{path}: not valid json: {error}") from None


def clean_categories(
    categories: list[dict[str, Any]], found: Callable[[Problem], None]
) -> list[dict[str, Any]]:
    """The class list sorted by id, with whole numbers as ids; problems go to `found`."""
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
    for text in similar_names(names):
        found(Problem("similar_classes", text))
    ids = sorted(cleaned)
    if ids and ids != list(range(1, len(ids) + 1)):
        found(Problem("category_id_gaps", f"class ids are {ids[0]}..{ids[-1]}, not 1..{len(ids)}"))
    return [cleaned[number] for number in ids]


def _is_one_line(text: str) -> bool:
    """False for control characters, and for lone surrogates, which UTF-8 cannot express."""
    return not any(unicodedata.category(c) in ("Cs", "Cc", "Zl", "Zp") for c in text)


def similar_names(names: Iterable[str]) -> list[str]:
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
            text = f"{other!r} and {name!r} have the image id {number}, so their boxes are mixed up"
            found(Problem("duplicate_image_id", text, file=name, image_id=number))
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
    """Annotations by image id with ids and boxes as numbers; unusable annotations are dropped."""
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in annotations:
        number, id_string = as_int(annotation.get("id"))
        image_id, image_string = as_int(annotation.get("image_id"))
        category, category_string = as_int(annotation.get("category_id"))
        if image_id not in images:
            text = f"belongs to image {annotation.get('image_id')!r}, which is not listed"
            found(Problem("orphan_annotation", text, None, image_id, number))
            continue
        name = images[image_id].get("file_name")
        if category not in categories:
            text = f"category_id {annotation.get('category_id')!r} is not in categories"
            found(Problem("unknown_category", text, name, image_id, number))
            continue
        box, box_string, kind = as_box(annotation.get("bbox"))
        if kind is not None:
            text = f"bbox {str(annotation.get('bbox'))[:80]} is unusable"
            found(Problem(kind, text, name, image_id, number))
            continue
        if id_string or image_string or category_string or box_string:
            text = "ids or box are written as strings; read as numbers"
            found(Problem("numbers_as_strings", text, name, image_id, number))
        annotation.update(id=number, image_id=image_id, category_id=category, bbox=box)
        groups[image_id].append(annotation)
    return groups
