"""Cuts the text lines out of pages and writes them as sets of crops."""

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from graphkd.data.check.files import progress
from graphkd.data.check.lines import load_pages
from graphkd.data.check.problems import ERROR, SKIP, Problem
from graphkd.data.convert.crops import ALL, CropSets, write_sets
from graphkd.data.convert.line_formats import LINE_KINDS
from graphkd.data.convert.lines import ConvertedLines, placed_pages, split_in
from graphkd.data.convert.split import split_names
from graphkd.data.images import ImageProblem, read_page
from graphkd.errors import UserError
from graphkd.formats.xml import BadFile, local, parse_xml
from graphkd.io import NewFolder
from graphkd.text.cut import cut_line

_QUALITY = 92


@dataclass
class _Sheet:
    """A page whose lines are cut out."""

    path: Path
    size: tuple[int, int]
    lines: list[dict[str, Any]]
    split: str | None
    document: str | None


def cut_lines(
    source: str | Path,
    out: str | Path,
    *,
    kind: str = "",
    images: str | Path | None = None,
    shares: dict[str, float] | None = None,
    group: str = "page",
    seed: int = 0,
    picture: str = "jpg",
    gt_txt: bool = False,
) -> CropSets:
    """Cuts the lines with a text out of pages; see `graphkd.text.cut`.

    Lines that are ignored, have no text, are too thin or lie off the page are counted. The pictures
    are OUT/{split}/{document or page}/{page}_{line}.jpg, so that the lines of a book stay together.

    Args:
        source: a hub file or a folder of hub files; or label files of pages (PAGE, ALTO, ...).
        out: new folder.
        kind: a key of `LINE_KINDS` for label files; "" finds it out.
        images: where the images of label files lie, if not in `source`.
        shares: parts of train, val (and test); None keeps the splits of the source.
        group: pages that stay together, see `graphkd.data.convert.split.group_of`; a page with a
            document stays with the others of its document.
        seed: changes the division into splits.
        picture: "jpg" or "png".
        gt_txt: also write a NAME.gt.txt with the text beside each picture.

    Raises:
        UserError: there is nothing to cut, or `out` is in use.
    """
    result, source = CropSets(Path(out)), Path(source)
    NewFolder(out).check()
    kind = kind or kind_of(source)
    if kind == "hub":
        sheets = list(_hub_sheets(source, result))
    else:
        found = ConvertedLines(Path(out))
        rest = {"images": images, "shares": None, "group": group, "seed": seed}
        sheets = [
            _Sheet(each.path, each.size, each.page.lines, each.split, each.page.document)
            for each in placed_pages(kind, source, found, **rest)
        ]
        result.left_out += found.left_out
    if shares is not None:
        _divide(sheets, shares, group, seed)
    rows: dict[str, list[tuple[str, str]]] = {}
    with NewFolder(out) as draft, progress("cutting lines", len(sheets)) as bar:
        for sheet, name in zip(sheets, _names(sheets), strict=True):
            try:
                page = read_page(sheet.path, size=sheet.size)
            except ImageProblem as error:
                result.left_out.append(f"{sheet.path}: {error}")
                continue
            own = rows.setdefault(sheet.split or ALL, [])
            for number, crop, text in _cut(page, sheet.lines, result.counts):
                path = f"{name}_{number:04d}.{picture}"
                (draft / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(crop).save(draft / path, quality=_QUALITY)
                own.append((path, text))
            bar.update()
        write_sets(draft, rows, result, gt_txt=gt_txt)
    return result


def kind_of(source: Path) -> str:
    """The kind of the labels of pages: "hub", or a key of `LINE_KINDS`.

    Raises:
        UserError: it cannot be told.
    """
    files = [source] if source.is_file() else sorted(filter(Path.is_file, source.rglob("*")))
    suffixes = {path.suffix.lower() for path in files}
    if ".jsonl" in suffixes:
        return "hub"
    for path in files:
        if path.suffix.lower() == ".xml":
            with contextlib.suppress(BadFile):
                name = local(parse_xml(path)).lower()
                if name in ("pcgts", "alto"):
                    return "page-lines" if name == "pcgts" else "alto-lines"
    if source.is_file() and ".json" in suffixes:
        return "coco-lines"
    if source.is_file() and ".txt" in suffixes:
        return "paddle-lines"
    raise UserError(
        f"{source}: no hub file, PAGE or ALTO file; name the format with --kind "
        f"({', '.join(LINE_KINDS)})"
    )


def _hub_sheets(source: Path, result: CropSets) -> Iterator[_Sheet]:
    for path in [source] if source.is_file() else sorted(source.glob("*.jsonl")):
        problems: list[Problem] = []
        pages = load_pages(path, problems.append)
        for problem in problems:
            if problem.level == ERROR:
                raise UserError(f"{path}: {problem.line()}")
            if problem.level == SKIP:
                result.left_out.append(f"{path}: {problem.place_and_message}")
        for page in pages:
            size = page.entry["width"], page.entry["height"]
            split = split_in(Path(path.stem))
            yield _Sheet(page.path, size, page.annotations, split, page.entry.get("document"))


def _divide(sheets: list[_Sheet], shares: dict[str, float], group: str, seed: int) -> None:
    """Puts whole documents into splits; a page without one is grouped by the rule."""
    known = all(sheet.document for sheet in sheets)
    names = {
        f"{sheet.document}/{i}" if known else sheet.path.as_posix(): sheet
        for i, sheet in enumerate(sheets)
    }
    rule = "folder" if known else group
    for split, members in split_names(list(names), shares, rule=rule, seed=seed).items():
        for name in members:
            names[name].split = split


def _names(sheets: Sequence[_Sheet]) -> Iterator[str]:
    """The beginnings of the names of each page's pictures; no two are equal."""
    taken: set[str] = set()
    for sheet in sheets:
        page = _safe(sheet.path.stem)
        folder = f"{sheet.split or ALL}/{_safe(sheet.document or page)}"
        name, number = f"{folder}/{page}", 1
        while name.casefold() in taken:
            number += 1
            name = f"{folder}/{page}-{number}"
        taken.add(name.casefold())
        yield name


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:80] or "page"


def _cut(
    page: np.ndarray, lines: Iterable[dict[str, Any]], counts: Counter[str]
) -> Iterator[tuple[int, np.ndarray, str]]:
    """Number, picture and text of the lines of a page; what is left out is counted."""
    for number, line in enumerate(lines):
        text = " ".join(line["text"].splitlines()).strip()
        if line["ignore"] or not text:
            counts["ignored lines" if line["ignore"] else "lines without text"] += 1
            continue
        base = np.array(line["baseline"]) if "baseline" in line else None
        crop = cut_line(page, np.array(line["polygon"], np.float64), baseline=base)
        if crop is None:
            counts["lines that are too thin or off the page"] += 1
            continue
        yield number, crop, text
