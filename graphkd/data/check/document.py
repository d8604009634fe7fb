"""Reading a COCO json file into a dict, with errors that name the place; looks at no image."""

import json
from pathlib import Path
from typing import Any

from graphkd.errors import UserError


class NotCoco(UserError):
    """The file is there but is no COCO json; the message names the file and the place in it."""


def read_document(json_file: str | Path) -> dict[str, Any]:
    """Read a COCO json file; a UTF-8 byte order mark is accepted.

    Returns:
        The file's top-level object; "images" and "categories" are lists of objects, and so is
        "annotations" (an empty list where the key is absent or null).

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
