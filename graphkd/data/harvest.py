"""Makes training data from PDFs that programs wrote: page images and their text lines."""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
from PIL import Image

from graphkd.data.check.files import progress
from graphkd.data.check.lines import write_hub
from graphkd.data.convert.split import split_names
from graphkd.data.pdf_lines import read_page
from graphkd.errors import UserError
from graphkd.io import NewFolder, file_digest


@dataclass(frozen=True)
class Harvested:
    """What was written, and what was not.

    Attributes:
        out: the folder.
        splits: name -> documents, pages and lines (without the ignored ones).
        counts: what was dropped or changed -> how often.
        failures: files and pages that cannot be read, with the reason.
    """

    out: Path
    splits: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def pdf_files(inputs: Sequence[str | Path]) -> list[Path]:
    """The files that are named, and the PDFs in folders that are named.

    Raises:
        UserError: one does not exist, or no PDF is found.
    """
    found: list[Path] = []
    for item in map(Path, inputs):
        if item.is_dir():
            found += sorted(p for p in item.rglob("*") if p.suffix.lower() == ".pdf")
        elif item.is_file():
            found.append(item)
        else:
            raise UserError(f"{item}: no such file or folder")
    if not found:
        raise UserError(f"there is no PDF in {', '.join(map(str, inputs))}")
    return found


def harvest_lines(
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    dpi: int = 150,
    picture: str = "png",
    shares: dict[str, float] | None = None,
    seed: int = 0,
    password: str | None = None,
) -> Harvested:
    """Writes the pages of PDFs and their text lines as hub files, split by document.

    OUT/train.jsonl and OUT/val.jsonl list the pages in OUT/images/DOCUMENT/. Pages without text and
    scanned pages are left out; pictures on the other pages are ignored regions, as they may show
    text. Lines without a letter or digit and mirrored lines are ignored too.

    Args:
        inputs: PDF files, and folders that are searched for them.
        out: a new folder.
        dpi: pixels per inch.
        picture: `png` or `jpg`.
        shares: split names with their shares of the pages; None for 90 % train and 10 % val. With
            fewer documents than splits all pages are in the first.
        seed: another division into splits.
        password: for encrypted files.

    Raises:
        UserError: no file is found, nothing can be harvested, or `out` is in use.
    """
    files = pdf_files(inputs)
    shares = shares or {"train": 0.9, "val": 0.1}
    result = Harvested(Path(out))
    with NewFolder(out) as draft:
        records = []
        seen: set[str] = set()
        with progress("reading PDFs", len(files)) as bar:
            for path in files:
                digest = file_digest(path)
                if digest in seen:
                    result.counts["files that are copies of another"] += 1
                else:
                    seen.add(digest)
                    name = _document_name(path, {record["document"] for record in records})
                    pages = _pages(path, dpi, password, result)
                    records += _store(pages, draft, name, picture)
                bar.update(1)
        if not records:
            reason = result.failures[0] if result.failures else "no page has a text layer"
            raise UserError(f"nothing to harvest in {len(files)} files: {reason}")
        _write_splits(draft, records, shares, seed, result)
    return result


def _document_name(path: Path, taken: set[str]) -> str:
    stem = re.sub(r"[^\w.-]+", "_", path.stem).strip("._") or "document"
    name, number = stem, 1
    while name.casefold() in {each.casefold() for each in taken}:
        number += 1
        name = f"{stem}_{number}"
    return name


def _store(
    pages: Iterator[tuple[int, np.ndarray, list[dict[str, Any]]]],
    draft: Path,
    document: str,
    picture: str,
) -> Iterator[dict[str, Any]]:
    """Writes the images of one document; yields its records."""
    for number, pixels, lines in pages:
        path = f"images/{document}/{number:04d}.{picture}"
        (draft / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(draft / path, quality=92)
        height, width = pixels.shape[:2]
        about = {"path": path, "width": width, "height": height, "document": document}
        yield {**about, "lines": lines}


def _write_splits(
    draft: Path, records: list[dict], shares: dict[str, float], seed: int, result: Harvested
) -> None:
    documents = {record["document"] for record in records}
    if len(documents) < len(shares):
        shares = {next(iter(shares)): 1.0}
    by_path = {record["path"]: record for record in records}
    for split, names in split_names(list(by_path), shares, rule="folder", seed=seed).items():
        chosen = [by_path[name] for name in names]
        write_hub(draft / f"{split}.jsonl", chosen)
        lines = sum(not line["ignore"] for record in chosen for line in record["lines"])
        result.splits[split] = len({r["document"] for r in chosen}), len(chosen), lines


def _pages(
    path: Path, dpi: int, password: str | None, result: Harvested
) -> Iterator[tuple[int, np.ndarray, list[dict[str, Any]]]]:
    """Number, pixels and lines of every page that has lines; the others are counted."""
    try:
        document = pypdfium2.PdfDocument(path, password=password)
    except Exception as error:  # nearly anything on a damaged file
        locked = "password" in str(error).lower()
        reason = "damaged PDF, or one without pages"
        if locked:
            known = "the password is wrong" if password else "it needs one (--password-file)"
            reason = f"encrypted: {known}"
        result.failures.append(f"{path}: {reason}")
        return
    with contextlib.closing(document):
        for number in range(1, len(document) + 1):
            try:
                page = document[number - 1]
                try:
                    found = read_page(page, dpi=dpi, counts=result.counts)
                finally:
                    page.close()
            except Exception as error:  # pdfium's errors, and those of memory
                said = " ".join(str(error).split())[:100]
                result.failures.append(f"{path}, page {number}: cannot be read ({said})")
                continue
            if found is not None:
                yield number, *found
