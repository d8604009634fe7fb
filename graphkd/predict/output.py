"""The folder of results: file names, writing page by page, the record, and overwriting."""

import contextlib
import io
import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from graphkd import __version__
from graphkd.document import Page
from graphkd.errors import UserError
from graphkd.formats import PAGE_FORMATS
from graphkd.formats.coco_json import CocoWriter
from graphkd.io import DISK_ERRORS, replacing, write_json, write_text
from graphkd.predict.documents import Failure, RawPage
from graphkd.report.content import Boxes
from graphkd.report.pictures import class_colours, draw_lines, draw_predictions

FORMATS = ("json", "coco", "page", "alto", "hocr", "tsv")
RECORD = "predict.json"
LINES = "lines.tsv"
# The list of written files, one per line. A later run with --overwrite removes only these.
_WRITTEN = "written.txt"
_PICTURES = "pictures"
# Folder -> ending of its files.
_OURS = {form.folder: form.ending for form in PAGE_FORMATS.values()} | {_PICTURES: ".jpg"}
_COCO = ("coco.json", "coco_results.json")
# Of lines.tsv, so that a row is a line and a tab ends a field.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_FAILED = "failed.json"
_FORMAT = 1
# Enough bytes for the record, and for what files and folders need besides their content.
_RESERVE = 1 << 16
_MAX_BYTES = 120  # most file systems allow 255, and endings and numbers are added
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10)}


class Output:
    """The results of one run in one folder.

    The files of a page are complete on the disk before the next page is processed. The COCO files,
    the list of failures and the record are written by `close`, also after an interruption or if the
    disk is full. If something cannot be written, a UserError names the folder.

    Attributes:
        pages: written so far.
        regions: on these pages.
        lines: of text in these regions.
        failures: what could not be read.
    """

    def __init__(
        self,
        folder: Path,
        *,
        formats: Sequence[str],
        classes: Sequence[str],
        draw: bool,
        record: Mapping[str, Any],
        inputs: Sequence[Path] = (),
    ):
        """`inputs` are what the user named; in `lines.tsv`, names are relative to its folders."""
        self._folder = folder
        self._inputs = [path for path in inputs if path.is_dir()]
        self._formats = [PAGE_FORMATS[name] for name in formats if name in PAGE_FORMATS]
        self._draw = draw
        self._record = dict(record)
        self._names = Names()
        self._classes = tuple(classes)
        self.pages = self.regions = self.lines = 0
        self.failures: list[Failure] = []
        with self._explained():
            self._space = ReservedSpace(folder, size=_RESERVE)
            self._coco = None
            if "coco" in formats:
                self._coco = CocoWriter(folder, classes, reserve=self._space.grow)
            self._lines = folder / LINES if "tsv" in formats else None
            files = [RECORD, _FAILED, *(_COCO if self._coco else ())]
            files += [LINES] if self._lines is not None else []
            write_text(folder / _WRITTEN, "".join(f"{file}\n" for file in files))
            if self._lines is not None:
                write_text(self._lines, "")
            self._write_record(finished=False)

    def add(self, raw: RawPage, page: Page) -> None:
        """Writes one page in every chosen format."""
        name = self._names.take(raw.source, raw.number, raw.pages)
        with self._explained():
            places = [(form.folder, form.ending) for form in self._formats]
            places += [(_PICTURES, _OURS[_PICTURES])] * self._draw
            files = [f"{inside}/{name}{ending}" for inside, ending in places]
            # Listed before they are written, so that the list is complete if the run is killed.
            with (self._folder / _WRITTEN).open("a", encoding="utf-8") as stream:
                stream.writelines(f"{file}\n" for file in files)
            for form, file in zip(self._formats, files, strict=False):
                write_text(self._folder / file, form.text(page))
            if self._draw:
                self._write_picture(raw, page, self._folder / files[-1])
            several = raw.pages > 1 or raw.number > 1
            if self._coco is not None:
                self._coco.add(page, name, several=several)
            if self._lines is not None:
                with self._lines.open("a", encoding="utf-8", newline="") as stream:
                    stream.writelines(self._rows(page, several=several))
        self.pages += 1
        self.regions += len(page.regions)
        self.lines += sum(len(region.lines) for region in page.regions)

    def _rows(self, page: Page, *, several: bool) -> Iterator[str]:
        """The rows of a page in `lines.tsv`: name, text and score of every line."""
        name = page.source
        for folder in self._inputs:
            if PurePath(name).is_relative_to(folder):
                name = PurePath(name).relative_to(folder).as_posix()
                break
        name += f"#page={page.number}" if several else ""
        for line in (line for region in page.regions for line in region.lines):
            fields = (name, line.text, f"{line.confidence:.4f}")
            yield "\t".join(field.translate(_ESCAPES) for field in fields) + "\n"

    def fail(self, failure: Failure) -> None:
        """Records a file or page that cannot be read."""
        self.failures.append(failure)
        with self._explained():
            self._space.grow(len(json.dumps(_entry(failure), ensure_ascii=False).encode()) + 16)
            self._write_failures()

    def close(self, *, finished: bool) -> None:
        """Writes the files about the whole run; `finished` is False after an interruption."""
        self._space.give_back()
        with self._explained():
            # The counts first: the COCO files may not fit if another program fills the disk.
            self._write_record(finished=False)
            if self.failures:
                self._write_failures()
            if self._coco is not None:
                self._coco.finish()
                self._coco.close()
            if finished:
                self._write_record(finished=True)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            raise UserError(
                f"{self._folder}: nothing more can be written there ({error.strerror or error}); "
                f"{self.pages} pages are complete; free disk space, then start again with "
                "--overwrite"
            ) from error

    def _write_picture(self, raw: RawPage, page: Page, path: Path) -> None:
        regions = [region for region in page.regions if region.found_by == "layout"]
        boxes = Boxes(
            np.array([region.box for region in regions]),
            [region.label for region in regions],
            [region.score for region in regions],
        )
        picture = draw_predictions(raw.pixels, boxes, colours=class_colours(self._classes))
        lines = [line.polygon for region in page.regions for line in region.lines]
        draw_lines(picture, lines, colour=class_colours(["text"])["text"])
        path.parent.mkdir(exist_ok=True)
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=88, subsampling=0)  # thin lines keep their colour
        # Not by Pillow, which would report a full disk as a damaged stream.
        with replacing(path) as stream:
            stream.write(content.getbuffer())

    def _write_failures(self) -> None:
        write_json(self._folder / _FAILED, [_entry(failure) for failure in self.failures])

    def _write_record(self, *, finished: bool) -> None:
        counts = {"pages": self.pages, "regions": self.regions, "lines": self.lines}
        counts["failed"] = len(self.failures)
        write_json(
            self._folder / RECORD,
            {
                "format": _FORMAT,
                "graphkd": __version__,
                **self._record,
                **counts,
                "finished": finished,
            },
        )


def choose_formats(text: str | None, *, task: str | None = None) -> tuple[str, ...]:
    """The formats that the user named, else those of a task.

    Args:
        text: names with commas; None for the default.
        task: of the model; None if it is not loaded yet.

    Raises:
        UserError: an unknown name, or one that the task has nothing for.
    """
    reads = task == "text_recognition"
    if text is None:
        return ("tsv",) if reads else ("json", "coco")
    formats = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = [part for part in formats if part not in FORMATS]
    if unknown:
        raise UserError(f"--format {unknown[0]!r}: choose from {', '.join(FORMATS)}")
    wrong = {"coco"} if reads else {"tsv"}
    if task is not None and wrong & set(formats):
        raise UserError(
            "--format coco is for detectors; a text recogniser writes tsv, json and page"
            if reads
            else "--format tsv is for text recognisers; a detector writes json, coco and page"
        )
    return formats


def _entry(failure: Failure) -> dict[str, Any]:
    return {"source": failure.source, "page": failure.number, "reason": failure.reason}


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Checks that results can be written to a folder. It must be empty, or hold results of this
    command that may be overwritten. Nothing is made or changed.

    Raises:
        UserError: it is a file, cannot be written, or holds other files; or it holds results and
            `overwrite` is False.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: it is a file; name a folder for the results")
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not parent.is_dir():
        raise UserError(f"{folder}: it cannot be made, since {parent} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: you may not write in {parent}; name another folder")
    # If the list is the only file, an earlier run stopped before its first result.
    if not folder.exists() or all(path.name == _WRITTEN for path in folder.iterdir()):
        return
    if not (folder / RECORD).is_file():
        raise UserError(
            f"{folder}: it is not empty and holds no earlier results of this command; "
            "name another folder"
        )
    if not overwrite:
        raise UserError(
            f"{folder}: it holds earlier results; name another folder, or --overwrite them"
        )
    if not (folder / _WRITTEN).is_file():
        raise UserError(
            f"{folder}: it is not known which of its files are results (there is no {_WRITTEN}); "
            "name another folder"
        )


def clear_folder(folder: Path, *, keep: Iterable[Path] = ()) -> None:
    """Makes the folder, and removes the results of an earlier run; other files stay.

    Raises:
        UserError: a file in `keep` is one of these results. Then nothing is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = _results(folder)
    ours = {os.path.realpath(path) for path in results}
    for path in keep:
        if os.path.realpath(path) in ours:
            raise UserError(
                f"{path}: it is a result of the earlier run, which --overwrite removes; name "
                "another folder for the results"
            )
    for path in results:
        path.unlink(missing_ok=True)
    for inside in (folder / name for name in _OURS):
        if inside.is_dir() and not any(inside.iterdir()):
            inside.rmdir()


def _results(folder: Path) -> list[Path]:
    """The files in `folder` that an earlier run of this command has written."""
    list_file = folder / _WRITTEN
    if not list_file.is_file():
        return []
    lines = list_file.read_text(encoding="utf-8", errors="replace").replace("\0", "").splitlines()
    found = [folder / line for line in lines if _may_be_ours(Path(line))]
    return [path for path in found if path.is_file() or path.is_symlink()] + [list_file]


def _may_be_ours(path: Path) -> bool:
    """Whether this command writes files of this folder, name and ending."""
    if len(path.parts) == 1:
        return path.name in (RECORD, _FAILED, LINES, *_COCO)
    return len(path.parts) == 2 and _OURS.get(path.parts[0]) == path.suffix


class Names:
    """Gives every page a new name; names that differ only in case count as equal."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, source: str, number: int, pages: int) -> str:
        """The name, without ending, for a page.

        Args:
            source: the file of the page.
            number: number of the page in the file, from 1.
            pages: number of pages of the file; if there are several, the name ends in `_p0001`.
        """
        stem = safe_stem(source)
        wanted = f"{stem}_p{number:04d}" if pages > 1 or number > 1 else stem
        name, count = wanted, 1
        while name.casefold() in self._taken:
            count += 1
            name = f"{wanted}~{count}"
        self._taken.add(name.casefold())
        return name


def safe_stem(source: str) -> str:
    """The file name without its ending. Letters and digits of any language, `-`, `_` and `.` are
    kept, other characters become `_`. It is never empty, hidden, too long, or a Windows device.
    """
    name = PurePath(source).name
    name = PurePath(name).stem if PurePath(name).suffix else name
    name = re.sub(r"[^\w.-]", "_", unicodedata.normalize("NFC", name))
    name = name.encode()[:_MAX_BYTES].decode("utf-8", "ignore").strip(".-") or "page"
    return f"{name}_" if name.split(".")[0].casefold() in _RESERVED else name


class ReservedSpace:
    """Reserves disk space so that the final files can be written even when the disk fills up.

    A full disk is then noticed early enough to end the run properly.
    """

    def __init__(self, folder: Path, *, size: int):
        """Reserves `size` bytes.

        Raises:
            OSError: the disk is full; `grow` raises it, too.
        """
        # A file without a name, which disappears with the process.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)
        self.grow(size)

    def grow(self, size: int) -> None:
        """Reserves `size` more bytes."""
        rest = bytes(size)
        while rest:
            rest = rest[self._file.write(rest) :]

    def give_back(self) -> None:
        """Frees all reserved bytes."""
        self._file.close()
