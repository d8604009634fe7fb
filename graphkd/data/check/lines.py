"""Reading, checking and cleaning pages of text lines in the hub format.

A hub file has one JSON object per page and line of the file:

    {"path": "images/a.jpg", "width": 640, "height": 480, "document": "book 1",
     "lines": [{"polygon": [[x, y], ...], "text": "...", "ignore": false}]}

`path` is relative to the folder of the file. Numbers are pixels of the picture after its EXIF turn.
`document`, the name of the book or receipt that the page is from, may be left out.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from graphkd.data.check.boxes import ROUNDING
from graphkd.data.check.clean import CleanPage, CleanSet
from graphkd.data.check.files import declared_size, find_files, look_at, progress
from graphkd.data.check.problems import Problem
from graphkd.data.check.report import IMAGES_NAME, Report, write_page
from graphkd.data.images import MAX_PIXELS
from graphkd.errors import UserError
from graphkd.io import NewFolder, write_text
from graphkd.text.polygons import clockwise, largest, min_rectangle, signed_area, valid

HUB_NAME = "lines.jsonl"
MAX_POINTS = 10_000  # of one polygon; a line that follows every letter has a few hundred
_FURTHEST = 1e7  # pixels; a larger coordinate is a mistake and would overflow in drawing
LEAST_AREA = 1.0  # square pixels
SMALL = 8.0  # pixels; a text whose short side is below it is not trained on by default

Found = Callable[[Problem], None]


def read_records(hub_file: str | Path, found: Found) -> list[dict[str, Any]]:
    """The pages of a hub file as they are there; what makes the file unusable goes to `found`.

    Raises:
        UserError: the file is missing or cannot be opened.
    """
    path, records = Path(hub_file), []
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                if not raw.strip():
                    continue
                record = _record(raw)
                if isinstance(record, str):
                    found(Problem("not_hub", f"line {number} of {path.name}: {record}"))
                    return []
                records.append(record)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path or make the data first") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not records:
        found(Problem("no_images", f"{path.name} is empty: the data set has no page"))
    return records


def _record(raw: bytes) -> dict[str, Any] | str:
    """One page, or what is wrong with it."""
    try:
        record = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return "not UTF-8; save the file as UTF-8"
    except RecursionError:
        return "the json is nested too deeply"
    except ValueError as error:
        return f"not valid json ({str(error)[:80]})"
    if not isinstance(record, dict) or not isinstance(record.get("lines"), list):
        return 'not a page: an object with the keys "path", "width", "height" and "lines"'
    if not all(isinstance(line, dict) for line in record["lines"]):
        return '"lines" is not a list of objects'
    return record


def write_hub(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Writes pages as a hub file; coordinates are rounded to a hundredth of a pixel."""
    rows = []
    for record in records:
        lines = [
            {
                "polygon": np.round(np.asarray(line["polygon"], np.float64), 2).tolist(),
                "text": line.get("text", ""),
                "ignore": bool(line.get("ignore")),
            }
            for line in record["lines"]
        ]
        rows.append(json.dumps({**record, "lines": lines}, ensure_ascii=False, allow_nan=False))
    # A lone surrogate is legal in json but not in UTF-8.
    text = "".join(f"{row}\n" for row in rows)
    write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8"))


def load_pages(
    hub_file: str | Path,
    found: Found,
    *,
    inspect: bool = True,
    decode: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> list[CleanPage]:
    """The usable pages of a hub file with their readable lines, which are not changed.

    Args:
        hub_file: the file.
        found: gets every problem.
        inspect: open every image; without it the sizes in the file are believed.
        decode: decode every image instead of trusting its end mark.
        max_pixels: larger images are left out without being decoded.

    Returns:
        One page each: `entry` has file_name, id (the same), width, height and perhaps document;
        `annotations` are the lines.
    """
    images, lines = {}, {}
    for record in read_records(hub_file, found):
        name = record.get("path")
        key = name if isinstance(name, str) else len(images)
        if key in images:
            found(Problem("duplicate_image_id", "the page is listed twice", file=name))
            return []
        entry = {"file_name": name, "id": key}
        entry |= {k: record.get(k) for k in ("width", "height")}
        if isinstance(record.get("document"), str):
            entry["document"] = record["document"]
        images[key], lines[key] = entry, record["lines"]
    files = find_files(images, Path(hub_file).absolute().parent, found)
    pages = []
    for key, sheet in look_at(files, images, inspect=inspect, decode=decode, max_pixels=max_pixels):
        for problem in sheet.problems:
            found(problem)
        entry = images[key]
        if sheet.unusable is None and _set_size(entry, sheet.header, found):
            kept = list(_readable(lines[key], entry["file_name"], found))
            pages.append(CleanPage(entry, sheet.path, kept, sheet if sheet.header else None))
    return pages


def _set_size(entry: dict[str, Any], header: Any, found: Found) -> bool:
    """Puts the size into `entry`; False if the size and the picture do not go together."""
    size, name = declared_size(entry), entry["file_name"]
    if header is not None and size is None:
        text = "no width and height; those of the picture are used"
        found(Problem("size_absent", text, file=name))
        size = header.upright
    elif header is not None and size not in (header.upright, header.stored):
        seen = "the file gives {} x {} pixels, the picture has {} x {}"
        found(Problem("size_unclear", seen.format(*size, *header.upright), file=name))
        return False
    entry["width"], entry["height"] = size
    return True


def _readable(lines: list[dict[str, Any]], name: str, found: Found) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        kind, text = _polygon_fault(line.get("polygon"))
        if kind is not None:
            found(Problem(kind, text, file=name, annotation_id=number))
            continue
        words = line.get("text")
        yield {
            "polygon": line["polygon"],
            "text": words if isinstance(words, str) else "",
            "ignore": bool(line.get("ignore")),
        }


def _polygon_fault(polygon: Any) -> tuple[str | None, str]:
    """Kind and description of what makes a polygon unreadable; (None, "") for a good one."""
    if not isinstance(polygon, list) or not 3 <= len(polygon) <= MAX_POINTS:
        count = f"{len(polygon)} points" if isinstance(polygon, list) else type(polygon).__name__
        return "line_malformed", f"a polygon has 3 to {MAX_POINTS} points, not {count}"
    for point in polygon:
        if not isinstance(point, list) or len(point) != 2:
            return "line_malformed", f"{str(point)[:40]} is no point [x, y]"
        for value in point:
            if type(value) not in (int, float):
                return "line_malformed", f"{str(value)[:40]!r} is no number"
            if isinstance(value, float) and not math.isfinite(value):
                return "line_not_finite", f"the coordinate {value} is not finite"
            if not -_FURTHEST <= value <= _FURTHEST:
                return "line_malformed", "a coordinate is beyond 10 million pixels"
    return None, ""


def clean_lines(hub_file: str | Path, *, inspect: bool = True, decode: bool = False) -> CleanSet:
    """The part of a hub file that can be trained on, and every problem.

    Lines are cut at the page's edge; crossing outlines are repaired; lines below one square pixel
    are left out; points run clockwise on the page. See `load_pages` for the arguments.
    """
    result = CleanSet(extra={"kind": "lines"})
    found = result.problems.append
    for page in load_pages(hub_file, found, inspect=inspect, decode=decode):
        size = page.entry["width"], page.entry["height"]
        page.annotations = tidy_lines(page.annotations, size, found, name=page.entry["file_name"])
        result.pages.append(page)
    if result.pages:
        _judge(result.pages, found)
    return result


def tidy_lines(
    lines: Iterable[dict[str, Any]], size: tuple[int, int], found: Found, *, name: str
) -> list[dict[str, Any]]:
    """The lines of a page of `size` (width, height), cleaned for training; see `clean_lines`."""
    kept = []
    for number, line in enumerate(lines, start=1):
        points, kinds = tidy(np.asarray(line["polygon"], np.float64), size)
        for kind, text in kinds:
            found(Problem(kind, text, file=name, annotation_id=number))
        if points is not None:
            kept.append({**line, "polygon": points.tolist()})
    return kept


def tidy(
    points: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray | None, list[tuple[str, str]]]:
    """One polygon, cleaned for training.

    Args:
        points: (P, 2) corners (x, y), P at least 3, finite.
        size: (width, height) of the page.

    Returns:
        The polygon, or None if nothing of it can be used, and pairs of problem kind and text.
    """
    kinds = []
    shape = shapely.Polygon(points)
    crossing = not shape.is_valid
    if crossing:
        # Four corners in the wrong order make a bow tie; their hull is the quadrilateral meant.
        shape = shape.convex_hull if len(points) == 4 else valid(points)
        kinds.append(("line_crossing", "the outline crosses itself"))
    left, top, right, lower = shape.bounds
    over = max(-left, -top, right - size[0], lower - size[1])
    if over > 0:
        if left >= size[0] or top >= size[1] or right <= 0 or lower <= 0:
            return None, [("line_outside", "the line lies off the page")]
        shape = shape.intersection(shapely.box(0, 0, *size))
        if over > ROUNDING:
            kinds.append(("line_clipped", f"the line reaches {over:.0f} pixels over the page"))
    if crossing or over > 0:
        points = largest(shape)
    elif signed_area(points) < 0:
        kinds.append(("line_orientation", "the points run anticlockwise"))
    area = abs(signed_area(points)) if len(points) else 0.0
    if area < LEAST_AREA:
        return None, [("line_too_small", f"an area of {area:.2g} square pixels")]
    return clockwise(points), kinds


def _judge(pages: list[CleanPage], found: Found) -> None:
    """Problems of the set as a whole."""
    lines = [line for page in pages for line in page.annotations]
    cared = [line for line in lines if not line["ignore"]]
    if not lines:
        found(Problem("no_annotations", "no page has a line"))
    elif not cared:
        found(Problem("all_ignored", f"all {len(lines)} lines are marked `ignore`"))
    else:
        small = sum(min_rectangle(line["polygon"])[1] < SMALL for line in cared)
        if small > len(cared) / 2:
            text = f"{small} of {len(cared)} lines are less than {SMALL:.0f} pixels high"
            found(Problem("most_too_small", text))


def check_lines(hub_file: str | Path, *, decode: bool = True) -> Report:
    """Checks a hub file: its records, every image and every line.

    Raises:
        UserError: there is no such file. Damage is reported, not raised.
    """
    records = read_records(hub_file, lambda problem: None)
    count = sum(len(record["lines"]) for record in records)
    cleaned = clean_lines(hub_file, decode=decode)
    where = {"json_file": str(hub_file), "image_root": str(Path(hub_file).parent)}
    return Report(**where, pages=len(records), boxes=count, cleaned=cleaned)


def write_fixed_lines(cleaned: CleanSet, out: str | Path) -> list[Problem]:
    """Writes the usable part of a line data set: OUT/lines.jsonl and OUT/images.

    Images are copied or rewritten as `graphkd.data.check.report.write_fixed` does.

    Returns:
        What a new check of the copy still finds, without notes.

    Raises:
        UserError: the set has an error that cannot be repaired, or `out` is in use.
    """
    if cleaned.error is not None:
        raise UserError(f"cannot be repaired: {cleaned.error.line()}")
    if not cleaned.pages:
        raise UserError("no page of this data set can be used: there is nothing to write")
    names: set[str] = set()
    with NewFolder(out) as draft:
        with progress("writing the copy", len(cleaned.pages)) as bar:
            for page in cleaned.pages:
                page.entry["file_name"] = page.entry["file_name"].removeprefix(f"{IMAGES_NAME}/")
                name = write_page(page, draft / IMAGES_NAME, names)
                page.entry["file_name"] = f"{IMAGES_NAME}/{name}"
                bar.update()
        write_hub(draft / HUB_NAME, map(record_of, cleaned.pages))
    return clean_lines(Path(out) / HUB_NAME).counted


def record_of(page: CleanPage) -> dict[str, Any]:
    """A page as a record of a hub file."""
    about = {k: page.entry[k] for k in ("width", "height", "document") if k in page.entry}
    return {"path": page.entry["file_name"], **about, "lines": page.annotations}
